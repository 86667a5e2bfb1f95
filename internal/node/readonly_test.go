package node

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// replicaReader reads a key on one connection to a member that has a copy of it.
type replicaReader struct {
	*redis.Conn
	t   *testing.T
	all []*member // the first is the primary of the key, the second has a copy, the third has none
	key string
}

// openReader runs a cluster and returns a reader at the second member.
func openReader(t *testing.T) *replicaReader {
	t.Helper()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	atHome(t, all...)
	c := redis.NewClient(&redis.Options{Addr: all[1].client(), MaxRetries: -1, Protocol: 2, ReadTimeout: 20 * time.Second})
	r := &replicaReader{c.Conn(), t, all, keyIn(shardsOf(t, all[0], all[1], 1)[0], len(all[0].told().Shards))}
	t.Cleanup(func() { r.Close(); c.Close() })
	return r
}

// says returns the reply to a command, or the error.
func (r *replicaReader) says(args ...any) string {
	text, err := r.Do(r.t.Context(), args...).Text()
	if err != nil {
		return err.Error()
	}
	return text
}

// wants waits for a reply to a command. On a busy machine another node may serve the shard for a moment.
func (r *replicaReader) wants(want string, args ...any) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%.100q is answered with %.100q", args, want), r.all, func() string {
		if got := r.says(args...); got != want {
			return fmt.Sprintf("%.200q", got)
		}
		return ""
	})
}

// After READONLY a replica answers reads with what is committed. All else goes to the primary.
func TestAReplicaAnswersAfterREADONLY(t *testing.T) {
	t.Parallel()
	r := openReader(t)
	first, second := npyOf(1, 100), npyOf(2, 100)
	moved := fmt.Sprintf("MOVED %d %s", topology.Slot([]byte(r.key)), r.all[0].client())
	r.all[0].stores(r.key, first)
	r.wants(moved, "NP.GET", r.key)
	r.wants("OK", "READONLY")
	r.wants(first, "NP.GET", r.key)
	r.all[0].stores(r.key, second)
	r.wants(second, "NP.GET", r.key)
	r.wants(moved, "NP.SET", r.key, first)
	r.wants("OK", "READWRITE")
	r.wants(moved, "NP.GET", r.key)
}

// signalAll sends a signal to members.
func signalAll(what syscall.Signal, all ...*member) {
	for _, m := range all {
		if err := m.cmd.Process.Signal(what); err != nil {
			m.t.Error(err)
		}
	}
}

// A replica that has heard nothing from the primary for longer than replica-max-staleness redirects readers. The node without a copy
// is frozen with the primary: otherwise the two that are left would make the replica the primary.
func TestAReplicaThatHearsNothingRedirects(t *testing.T) {
	t.Parallel()
	r := openReader(t)
	npy := npyOf(1, 100)
	accepts := func(staleness string) {
		t.Helper()
		if got := r.all[1].says("CONFIG", "SET", "replica-max-staleness", staleness); got != "OK" {
			t.Fatal(got)
		}
	}
	r.all[0].stores(r.key, npy)
	r.wants("OK", "READONLY")
	accepts("300ms")
	// Clients are no longer redirected to a node two seconds after gossip has declared it dead. A test that was too slow to see it
	// tries again.
	eventually(t, "the replica redirects", r.all, func() string {
		r.wants(npy, "NP.GET", r.key)
		signalAll(syscall.SIGSTOP, r.all[0], r.all[2])
		got := npy
		for deadline := time.Now().Add(10 * time.Second); got == npy && time.Now().Before(deadline); {
			got = r.says("NP.GET", r.key)
		}
		if strings.HasPrefix(got, "MOVED ") {
			return ""
		}
		signalAll(syscall.SIGCONT, r.all[0], r.all[2])
		return fmt.Sprintf("%.200q", got)
	})
	accepts("1h")
	r.wants(npy, "NP.GET", r.key)
	accepts("300ms")
	if got := r.says("NP.GET", r.key); got == npy {
		t.Error("the copy answers again, although it is too old")
	}
	signalAll(syscall.SIGCONT, r.all[0], r.all[2])
	whole(t, r.all...)
	r.wants(npy, "NP.GET", r.key)
}
