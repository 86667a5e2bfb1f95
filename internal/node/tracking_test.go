package node

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// A client that keeps a copy is told when the key changes, and when its shard goes to another node; that one's clients are told, too.
func TestTrackingAcrossAHandover(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 2, "--shards", "16")
	key := keysOf(t, nodes[0], 1)[0]
	shard := strconv.Itoa(int(nodes[0].Topology().ShardOf(topology.Slot([]byte(key)))))
	wait := func(what string, command *talker, wanted string, args ...string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if got = command.say(args...); strings.HasPrefix(got, wanted) {
				return
			}
		}
		t.Fatalf("%s: %s", what, got)
	}
	reader, broad, writer := talkTo(t, nodes[0].ClientAddrs()[0].String()), talkTo(t, nodes[1].ClientAddrs()[0].String()), talkTo(t, nodes[0].ClientAddrs()[0].String())
	reader.say("HELLO", "3")
	wait("tracking", reader, "+OK", "CLIENT", "TRACKING", "ON")
	broad.say("HELLO", "3")
	wait("tracking", broad, "+OK", "CLIENT", "TRACKING", "ON", "BCAST")
	wait("a write", writer, "+OK", "NP.SET", key, array)
	wait("a read", reader, `"`, "NP.GET", key)
	if got := writer.say("NP.SET", key, array); got != "+OK" {
		t.Fatal(got)
	}
	if got, want := reader.push(), `>["invalidate" ["`+key+`"]]`; got != want {
		t.Fatalf("after a write: %s", got)
	}
	wait("another read", reader, `"`, "NP.GET", key)
	second := talkTo(t, nodes[1].ClientAddrs()[0].String())
	wait("the failover", second, "+OK", "CLUSTER", "FAILOVER", "SHARD", shard)
	wait("a write at the new primary", second, "+OK", "NP.SET", key, array)
	for name, c := range map[string]*talker{"at the old primary": reader, "at the new primary": broad} {
		if got := c.push(); got != `>["invalidate" nil]` {
			t.Errorf("the client %s is told %s", name, got)
		}
	}
	if got, want := broad.push(), `>["invalidate" ["`+key+`"]]`; got != want {
		t.Errorf("the new primary tells its client %s", got)
	}
	wait("a read of the shard that is gone", talkTo(t, nodes[0].ClientAddrs()[0].String()), "-MOVED ", "NP.GET", key)
}
