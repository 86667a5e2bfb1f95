package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// register is a key with one writer. An operation is known by its place in history, which counts from 1; what it stores is that number, or nothing.
type register struct {
	key string

	mu      sync.Mutex // guards all below
	history []bool     // whether operation i+1 stores something; before the first there is nothing
	acked   int        // the newest operation that was acknowledged
	left    bool       // the outcome of the last operation is unknown, and nobody writes any more
}

// span returns the newest acknowledged operation, and the newest that was sent.
func (r *register) span() (acked, sent int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked, len(r.history)
}

// check looks at what was read after the operation `from` had been acknowledged.
func (r *register) check(from int, got int) error {
	_, sent := r.span()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got > 0 {
		if got < from || got > sent || !r.history[got-1] {
			return fmt.Errorf("%s has what operation %d has stored; operation %d was acknowledged before the read", r.key, got, from)
		}
		return nil
	}
	for i := from; i <= sent; i++ {
		if i == 0 || !r.history[i-1] {
			return nil
		}
	}
	return fmt.Errorf("%s is not there; operation %d, which has stored something, was acknowledged before the read, and none that deletes it was sent until its end (%d)", r.key, from, sent)
}

// numbered is an array of one number.
func numbered(n int) string {
	head := "{'descr': '<u8', 'fortran_order': False, 'shape': (1,), }"
	head += strings.Repeat(" ", 127-10-len(head)) + "\n"
	return string(binary.LittleEndian.AppendUint64(append([]byte("\x93NUMPY\x01\x00\x76\x00"), head...), uint64(n)))
}

// load writes to a cluster and reads from it.
type load struct {
	fleet *fleet
	drain atomic.Bool // the writers delete more than they set
	acks  atomic.Int64
	reads atomic.Int64
	tries atomic.Int64 // that failed

	mu        sync.Mutex // guards registers
	registers []*register
}

func (l *load) client(r *rand.Rand) *redis.ClusterClient {
	var addrs []string
	for _, n := range l.fleet.alive() {
		addrs = append(addrs, n.ClientAddrs()[0].String())
	}
	r.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 4, ReadTimeout: 20 * time.Second, DialTimeout: time.Second, PoolSize: 4})
}

// write sets and deletes keys of its own. What failed is done again until it is acknowledged; after a timeout, when a first try may yet be done after a second one, the key is left alone.
func (l *load) write(ctx context.Context, id int, r *rand.Rand) error {
	c := l.client(r)
	defer func() { c.Close() }()
	var own []*register
	made := 0
	for ctx.Err() == nil {
		own = slices.DeleteFunc(own, func(r *register) bool { return r.left })
		for len(own) < 12 {
			made++
			own = append(own, &register{key: fmt.Sprintf("w%d-%d", id, made)})
			l.mu.Lock()
			l.registers = append(l.registers, own[len(own)-1])
			l.mu.Unlock()
		}
		reg := own[r.IntN(len(own))]
		set := r.IntN(2) == 0
		if l.drain.Load() {
			set = r.IntN(30) == 0
			time.Sleep(time.Millisecond)
		}
		reg.mu.Lock()
		reg.history = append(reg.history, set)
		n := len(reg.history)
		reg.mu.Unlock()
		for {
			var err error
			if set {
				err = c.Do(ctx, "NP.SET", reg.key, numbered(n)).Err()
			} else {
				err = c.Del(ctx, reg.key).Err()
			}
			var slow net.Error
			if err == nil {
				reg.mu.Lock()
				reg.acked = n
				reg.mu.Unlock()
				l.acks.Add(1)
				break
			}
			if ctx.Err() != nil || errors.As(err, &slow) && slow.Timeout() {
				reg.left = true
				break
			}
			l.tries.Add(1)
			time.Sleep(10 * time.Millisecond)
			if r.IntN(8) == 0 { // all addresses that the client knows may be out of date
				c.Close()
				c = l.client(r)
			}
		}
	}
	return nil
}

// get returns the number that a key has, 0 for none.
func get(ctx context.Context, c *redis.ClusterClient, key string) (int, error) {
	text, err := c.Do(ctx, "NP.GET", key).Text()
	switch {
	case errors.Is(err, redis.Nil):
		return 0, nil
	case err != nil:
		return 0, err
	case len(text) < 8:
		return 0, fmt.Errorf("%s has %q", key, text)
	}
	return int(binary.LittleEndian.Uint64([]byte(text[len(text)-8:]))), nil
}

// read looks at keys of all writers.
func (l *load) read(ctx context.Context, r *rand.Rand) error {
	c := l.client(r)
	defer func() { c.Close() }()
	for ctx.Err() == nil {
		l.mu.Lock()
		var reg *register
		if len(l.registers) > 0 {
			reg = l.registers[r.IntN(len(l.registers))]
		}
		l.mu.Unlock()
		if reg == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		from, _ := reg.span()
		got, err := get(ctx, c, reg.key)
		if err != nil {
			if time.Sleep(time.Millisecond); r.IntN(8) == 0 {
				c.Close()
				c = l.client(r)
			}
			continue
		}
		l.reads.Add(1)
		if err := reg.check(from, got); err != nil {
			return err
		}
	}
	return nil
}

// TestHandover has nodes join, leave and start anew, and the leader stopped in the middle of it, while clients fill and empty shards: no shard has two nodes, every read shows the last write that
// was acknowledged, and at the end all is served and as it was written.
func TestHandover(t *testing.T) {
	quiet()
	rounds := 4
	if text := os.Getenv("NDRING_HANDOVER_ROUNDS"); text != "" {
		fmt.Sscan(text, &rounds)
	}
	seed := rand.Uint64()
	if text := os.Getenv("NDRING_HANDOVER_SEED"); text != "" {
		fmt.Sscan(text, &seed)
	}
	t.Logf("seed %d", seed)
	before := runtime.NumGoroutine()
	var logged bytes.Buffer
	log := &locked{w: &logged}
	r := rand.New(rand.NewPCG(seed, 0))
	f := &fleet{t: t, r: r, dir: t.TempDir(), shards: 16 << r.IntN(3), nodes: map[string]*Node{}, log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	defer func() {
		if t.Failed() && os.Getenv("NDRING_HANDOVER_LOG") != "" {
			t.Log(log.String())
		}
	}()
	defer func() {
		for _, name := range f.names() {
			f.stop(name)
		}
	}()
	f.must(f.start(3, "a", "b", "c"))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &load{fleet: f}
	var group sync.WaitGroup
	failed := make(chan error, 20)
	run := func(what func(context.Context) error) {
		group.Go(func() {
			if err := what(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	for i := range 3 {
		run(func(ctx context.Context) error { return l.write(ctx, i, rand.New(rand.NewPCG(seed, uint64(1+i)))) })
		run(func(ctx context.Context) error { return l.read(ctx, rand.New(rand.NewPCG(seed, uint64(100+i)))) })
	}
	run(f.watch)
	for round := 0; round < rounds && ctx.Err() == nil; round++ {
		f.round(l, round)
		time.Sleep(time.Duration(r.Int64N(int64(300 * time.Millisecond))))
	}
	cancel()
	group.Wait()
	select {
	case err := <-failed:
		t.Fatalf("seed %d: %v", seed, err)
	default:
	}
	f.eventually("all shards are served by one node each", f.served)
	c := l.client(r)
	for _, reg := range l.registers {
		acked, _ := reg.span()
		got, err := get(t.Context(), c, reg.key)
		if err == nil {
			err = reg.check(acked, got)
		}
		if err != nil {
			t.Errorf("seed %d: at the end: %v", seed, err)
		}
	}
	c.Close()
	t.Logf("%d shards, %d acknowledged writes, %d reads, %d tries failed", f.shards, l.acks.Load(), l.reads.Load(), l.tries.Load())
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("seed %d: an error was logged: %s", seed, firstLine(log.String(), "level=ERROR"))
	}
	for _, name := range f.names() {
		f.stop(name)
	}
	f.eventually("the goroutines of the nodes end", func() bool { return runtime.NumGoroutine() <= before+5 })
}

// round has something happen to the cluster, and returns when it is whole again.
func (f *fleet) round(l *load, round int) {
	f.t.Helper()
	names := f.names()
	done := func() {}
	if f.r.IntN(3) > 0 {
		done = f.haltLeader()
	}
	switch {
	case len(names) == 3: // one joins, with an empty folder or the one that it left with
		name := slices.DeleteFunc([]string{"a", "b", "c", "d"}, func(n string) bool { return slices.Contains(names, n) })[0]
		wiped := f.r.IntN(2) == 0
		if wiped {
			os.RemoveAll(filepath.Join(f.dir, name))
		}
		f.t.Logf("round %d: %s joins; wiped: %v", round, name, wiped)
		l.drain.Store(f.r.IntN(2) == 0)
		f.must(f.start(0, name))
	case f.r.IntN(3) > 0:
		f.leave(l, round, names[f.r.IntN(len(names))], done)
	default:
		name := names[f.r.IntN(len(names))]
		done()
		f.t.Logf("round %d: %s is started anew", round, name)
		f.stop(name)
		f.must(f.start(0, name))
	}
	done()
	l.drain.Store(false)
	f.eventually("all shards are served", f.served)
}

// leave takes a node out of the cluster once its shards are empty.
func (f *fleet) leave(l *load, round int, name string, done func()) {
	f.t.Helper()
	f.t.Logf("round %d: %s leaves", round, name)
	l.drain.Store(true)
	var id topology.NodeID
	f.eventually(name+" leaves", func() bool {
		n := f.alive()[name]
		if n == nil { // it has led, and was stopped
			return false
		}
		id = n.Self()
		c := redis.NewClient(&redis.Options{Addr: n.ClientAddrs()[0].String()})
		defer c.Close()
		return c.Do(f.t.Context(), "CLUSTER", "LEAVE").Err() == nil
	})
	done() // a leader that is down has keys that nobody can delete
	f.eventually(name+" is forgotten", func() bool {
		for at, n := range f.alive() {
			if _, known := n.Topology().Node(id); at != name && len(n.Topology().Nodes) > 0 && !known {
				return true
			}
		}
		return false
	})
	f.stop(name)
}
