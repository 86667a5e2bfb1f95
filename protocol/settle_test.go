package protocol

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

const (
	uncertain = `^-UNCERTAIN .*the outcome is unknown`
	large     = 2 * resp.ByReference // bytes of an array that is sent by reference
)

// matches checks one reply against a pattern.
func (c *client) matches(pattern string) {
	c.t.Helper()
	if got := c.reply(); !regexp.MustCompile(pattern).MatchString(got) {
		c.t.Errorf("got %.300q, want a match of %s", got, pattern)
	}
}

// otherShardKey returns a key that is in another shard than the given one.
func otherShardKey(key string) string {
	for i := 0; ; i++ {
		other := fmt.Sprint("other", i)
		if topology.ShardOf(topology.Slot([]byte(other)), 256) != topology.ShardOf(topology.Slot([]byte(key)), 256) {
			return other
		}
	}
}

// startAlways runs a server under appendfsync always, of which key has been written once. After
// failSync the next sync fails; only the write before it succeeds.
func startAlways(t *testing.T, keys ...string) (s *testServer, c *client, failSync func()) {
	t.Helper()
	s, b := startOnDisk(t, shard.FsyncAlways)
	b.load(t)
	c = s.dial(t)
	for _, key := range keys {
		c.want("+OK", "NP.SET", key, bytesNPY(large, key))
	}
	return s, c, func() {
		b.good.Store(1)
		b.breaks(syscall.EIO)
	}
}

// A failure replaces exactly the reply of the command whose change failed, also between large replies that
// are sent from where they are stored.
func TestAFailedCommitReplacesItsReplyOnly(t *testing.T) {
	t.Parallel()
	far := otherShardKey("k")
	s, c, failSync := startAlways(t, "k", far)
	failSync()
	get, want := encode("NP.GET", far), `"`+bytesNPY(large, far)+`"`
	c.send(encode("PING") + get + get + encode("NP.SET", "k", bytesNPY(8, "b"), "WITHVERSION") + encode("PING") + get + encode("ECHO", "end"))
	for i, expected := range []string{"+PONG", want, want, "", "+PONG", want, `"end"`} {
		if expected == "" {
			c.matches(uncertain)
		} else if got := c.reply(); got != expected {
			t.Errorf("reply %d: %.100q", i, got)
		}
	}
	if got := c.do("INFO", "commandstats"); !regexp.MustCompile(`cmdstat_np\.set:calls=3,.*failed_calls=1\b`).MatchString(got) {
		t.Error(got)
	}
	if got := c.do("INFO", "errorstats"); !strings.Contains(got, "errorstat_UNCERTAIN:count=1") {
		t.Error(got)
	}
	if got := s.statistics.slots[topology.Slot([]byte("k"))].bytesIn.Load(); got == 0 {
		t.Error("the bytes of the failed write are not counted")
	}
}

// EXEC and FLUSHALL settle as a whole.
func TestAFailedCommitOfManyChanges(t *testing.T) {
	t.Parallel()
	for _, commands := range [][]string{
		{encode("MULTI"), encode("NP.SET", "k", bytesNPY(8, "b")), encode("NP.GET", "k"), encode("EXEC")},
		{encode("FLUSHALL")},
		{encode("DEL", "k")},
		{encode("EXPIRE", "k", "100")},
		{encode("NP.MSET", "k", bytesNPY(8, "b"), "{k}2", bytesNPY(8, "b"))},
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			_, c, failSync := startAlways(t, "k")
			failSync()
			c.send(strings.Join(commands, "") + encode("PING"))
			for range len(commands) - 1 {
				c.matches(`^\+(OK|QUEUED)$`)
			}
			c.matches(uncertain)
			c.matches(`^\+PONG$`)
		})
	}
}

// A client that has turned its replies off gets none for a change that failed, and later replies are right.
func TestFailedCommitsWithoutReplies(t *testing.T) {
	t.Parallel()
	_, c, failSync := startAlways(t, "k")
	failSync()
	set := encode("NP.SET", "k", bytesNPY(8, "b"))
	c.send(encode("CLIENT", "REPLY", "SKIP") + set + encode("PING"))
	c.matches(`^\+PONG$`)
	c.send(encode("CLIENT", "REPLY", "OFF") + set + set + encode("CLIENT", "REPLY", "ON"))
	c.matches(`^\+OK$`)

	_, c, failSync = startAlways(t, "k")
	failSync()
	c.send(encode("PING") + set + encode("CLIENT", "REPLY", "SKIP") + encode("PING") + encode("ECHO", "end"))
	c.matches(`^\+PONG$`)
	c.matches(uncertain)
	c.matches(`^"end"$`)

	_, c, failSync = startAlways(t, "k")
	failSync()
	c.send(encode("CLIENT", "REPLY", "OFF") + encode("NP.GET", "k") + set + encode("CLIENT", "REPLY", "ON") + encode("NP.GET", "k") + encode("ECHO", "end"))
	c.matches(`^\+OK$`)
	c.matches("^\".NUMPY")
	c.matches(`^"end"$`)
}

// syncs returns how often the server has synced a log.
func (s *testServer) syncs() int64 {
	d, _ := s.store.Disk().Stats()
	return d.Syncs
}

// A pipeline settles when it is sent, not with each command.
func TestAPipelineIsSyncedOnce(t *testing.T) {
	t.Parallel()
	s, c, _ := startAlways(t, "k")
	before := s.syncs()
	const commands = 100
	c.send(strings.Repeat(encode("NP.SET", "k", bytesNPY(8, "b")), commands))
	for range commands {
		c.matches(`^\+OK$`)
	}
	if n := s.syncs() - before; n < 1 || n > commands/4 { // the pipeline may arrive in several reads
		t.Errorf("%d syncs for a pipeline of %d commands", n, commands)
	}
}

// A long pipeline has more unsettled replies than a connection keeps.
func TestALongPipelineSettlesInParts(t *testing.T) {
	t.Parallel()
	_, c, _ := startAlways(t, "k")
	c.send(strings.Repeat(encode("PERSIST", "k")+encode("EXPIRE", "k", "100"), 2*maxUnsettled))
	for range 2 * maxUnsettled {
		c.matches(`^:[01]$`)
		c.matches(`^:1$`)
	}
}

// startWithAClosedShard is startAlways with the keys k and another one, whose shard is closed for now.
func startWithAClosedShard(t *testing.T) (s *testServer, c *client, failSync func(), far string, closed *shard.Role) {
	t.Helper()
	far = otherShardKey("k")
	s, c, failSync = startAlways(t, "k", far)
	s.gateWait.Store(int64(time.Minute))
	closed = s.store.Shard(int(topology.ShardOf(topology.Slot([]byte(far)), 256))).Role()
	closed.CloseIfEmpty(7) // not empty
	if c.want(":1", "DEL", far); !closed.CloseIfEmpty(7) {
		t.Fatal("the shard is still open")
	}
	return s, c, failSync, far, closed
}

// A command to which the client gets no reply makes the connection send earlier replies, one of them wrong.
func TestRepliesSettleBeforeTheyAreSetAside(t *testing.T) {
	t.Parallel()
	s, c, failSync, far, closed := startWithAClosedShard(t)
	failSync()
	c.send(encode("PING") + encode("NP.SET", "k", bytesNPY(8, "b")) + encode("CLIENT", "REPLY", "SKIP") + encode("EXISTS", far) + encode("ECHO", "end"))
	s.waiting(t)
	closed.Reopen()
	c.matches(`^\+PONG$`)
	c.matches(uncertain)
	c.matches(`^"end"$`)
}

// Without replies, too, a command may make the connection settle what came before, and then be wrong itself.
func TestRepliesSettleWhileTheyAreTurnedOff(t *testing.T) {
	t.Parallel()
	s, c, failSync, far, closed := startWithAClosedShard(t)
	failSync()
	set := func(key string) string { return encode("NP.SET", key, bytesNPY(8, "b")) }
	c.send(encode("PING") + encode("CLIENT", "REPLY", "OFF") + set("k") + set(far) + encode("CLIENT", "REPLY", "ON") + encode("ECHO", "end"))
	s.waiting(t)
	failSync()
	closed.Reopen()
	c.matches(`^\+PONG$`)
	c.matches(`^\+OK$`)
	c.matches(`^"end"$`)
}

// EXEC makes the connection send earlier replies, one of them wrong, before it writes its own, which turns
// out wrong too.
func TestExecSettlesEarlierRepliesFirst(t *testing.T) {
	t.Parallel()
	s, c, failSync, far, closed := startWithAClosedShard(t)
	failSync()
	first := encode("MULTI") + encode("NP.SET", "k", bytesNPY(large, "b")) + encode("NP.GET", "k") + encode("EXEC") // its reply is longer than an error
	c.send(first + encode("MULTI") + encode("NP.SET", far, bytesNPY(8, "b")) + encode("EXEC") + encode("ECHO", "end"))
	s.waiting(t)
	failSync()
	closed.Reopen()
	for _, pattern := range []string{`^\+OK$`, `^\+QUEUED$`, `^\+QUEUED$`, uncertain, `^\+OK$`, `^\+QUEUED$`, uncertain} {
		c.matches(pattern)
	}
	c.matches(`^"end"$`)
}

// A pipeline of transactions waits for one sync, not for one each.
func TestPipelinedTransactionsShareASync(t *testing.T) {
	t.Parallel()
	s, c, _ := startAlways(t, "k")
	before := s.syncs()
	const n = 50
	c.send(strings.Repeat(encode("MULTI")+encode("EXPIRE", "k", "100")+encode("EXEC"), n))
	for range n {
		c.matches(`^\+OK$`)
		c.matches(`^\+QUEUED$`)
		c.matches(`^\[:1\]$`)
	}
	if made := s.syncs() - before; made > n/5 { // a read may have ended within the pipeline
		t.Errorf("%d syncs for %d transactions", made, n)
	}
}
