package protocol

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

func TestTransaction(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, other := s.dial(t), s.dial(t)
	large := bytesNPY(100_000, "large")
	c.want("+OK", "MULTI")
	for _, args := range [][]string{
		{"NP.SET", "{t}a", arrayA}, {"NP.SET", "{t}b", large, "NX"}, {"NP.GET", "{t}b"}, {"NP.SET", "{t}a", "garbage"}, {"NP.MGET", "{t}a", "{t}c"},
		{"EXPIRE", "{t}a", "x"}, {"PING"}, {"DEL", "{t}a", "{t}b"}, {"DBSIZE"},
	} {
		c.want("+QUEUED", args...)
	}
	other.want(":0", "EXISTS", "{t}a")
	if got := other.do("CLIENT", "LIST"); !strings.Contains(got, " flags=x ") || !strings.Contains(got, " multi=9 ") {
		t.Errorf("CLIENT LIST: %s", got)
	}
	if used := s.Stats().UploadBytes; used < 100_000 {
		t.Errorf("only %d bytes of the upload budget are held", used)
	}
	c.want(`[+OK +OK "`+large+`" -BADNPY not a valid .npy file: it does not begin with \x93NUMPY ["`+arrayA+`" $nil] `+
		`-ERR value is not an integer or out of range +PONG :2 :0]`, "EXEC")
	other.want(":0", "EXISTS", "{t}a", "{t}b")
	c.want("-ERR EXEC without MULTI", "EXEC")
}

// Two clients move a value between two keys. A third one always sees it exactly once.
func TestTransactionsAreAtomic(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "NP.SET", "{t}a", arrayA)
	var movers sync.WaitGroup
	stop := make(chan struct{})
	for _, pair := range [][2]string{{"{t}a", "{t}b"}, {"{t}b", "{t}a"}} {
		mover := s.dial(t)
		movers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mover.send(encode("MULTI") + encode("DEL", pair[0]) + encode("NP.SET", pair[1], arrayA) + encode("EXEC"))
				for range 4 {
					mover.reply()
				}
			}
		})
	}
	for range 2000 {
		if got := c.do("EXISTS", "{t}a", "{t}b"); got != ":1" {
			t.Errorf("%s keys exist", got)
			break
		}
	}
	close(stop)
	movers.Wait()
}

func TestRefusedTransactions(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxArrayBytes: 1 << 20})
	c := s.dial(t)
	const abort = "-EXECABORT Transaction discarded because of previous errors."
	for name, bad := range map[string][]string{
		"unknown":    {"NOSUCH"},
		"arity":      {"NP.GET"},
		"crossslot":  {"DEL", "a", "b"},
		"node-wide":  {"SCAN", "0"},
		"no reply":   {"CLIENT", "REPLY", "OFF"},
		"too large":  {"NP.SET", "{t}a", strings.Repeat("x", 3<<20)},
		"subcommand": {"CLIENT", "NOSUCH"},
	} {
		c.want("+OK", "MULTI")
		c.want("+QUEUED", "NP.SET", "{t}a", arrayA)
		if got := c.do(bad...); got[0] != '-' {
			t.Errorf("%s: %s", name, got)
		}
		c.want("+QUEUED", "PING")
		c.want(abort, "EXEC")
		c.want(":0", "EXISTS", "{t}a")
	}
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "DEL", "a")
	c.want("+QUEUED", "DEL", "b")
	c.want("-CROSSSLOT Keys in request don't hash to the same slot", "EXEC")
	c.want("-ERR DISCARD without MULTI", "DISCARD")
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "PING")
	c.want("-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command", "EXEC", "x")
	c.want("-ERR EXEC without MULTI", "EXEC")
	key := "{t}" + strings.Repeat("k", 60_000)
	for range 4 {
		c.want("+OK", "WATCH", key)
	}
	c.want("-ERR the watched keys have too many bytes", "WATCH", key)
	c.want("+OK", "UNWATCH")
	c.want("+OK", "WATCH", key)
	c.want("+OK", "UNWATCH")
	c.want("+OK", "WATCH", "a")
	c.want("-CROSSSLOT Keys in request don't hash to the same slot", "WATCH", "b")
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	for _, proto := range []string{"2", "3"} {
		c, other := s.dial(t), s.dial(t)
		c.do("HELLO", proto)
		null := map[string]string{"2": "*nil", "3": "nil"}[proto]
		for _, test := range []struct {
			name   string
			change func()
			done   bool
		}{
			{"nothing", func() {}, true},
			{"another key", func() { other.do("NP.SET", "{t}other", arrayA) }, true},
			{"a read", func() { other.do("NP.GET", "{t}a") }, true},
			{"the same value", func() { other.do("NP.SET", "{t}a", arrayA) }, false},
			{"by the client itself", func() { c.do("NP.SET", "{t}a", arrayA) }, false},
			{"deleted", func() { other.do("DEL", "{t}a") }, false},
			{"deleted and recreated", func() { other.do("DEL", "{t}a"); other.do("NP.SET", "{t}a", arrayA) }, false},
			{"expire", func() { other.do("EXPIRE", "{t}a", "100") }, false},
			{"flushed", func() { other.do("FLUSHALL") }, false},
			{"expired", func() { s.now.Add(20_000) }, false},
			{"unwatched", func() { other.do("DEL", "{t}a"); c.do("UNWATCH") }, true},
			{"created", func() { other.do("NP.SET", "{t}none", arrayA) }, false},
		} {
			c.do("DEL", "{t}none")
			c.do("NP.SET", "{t}a", arrayA, "EX", "10")
			c.want("+OK", "WATCH", "{t}a", "{t}none")
			test.change()
			c.want("+OK", "MULTI")
			c.want("+QUEUED", "PING")
			want := null
			if test.done {
				want = "[+PONG]"
			}
			if got := c.do("EXEC"); got != want {
				t.Errorf("RESP%s, %s: %s, want %s", proto, test.name, got, want)
			}
		}
	}
}

// A transaction follows its slot to another node.
func TestTransactionIsRoutedAgain(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "NP.SET", "foo", bytesNPY(50_000, ""))
	mine := *s.topo.Load()
	theirs, err := topology.Single(topology.Node{ID: otherID, Listeners: map[string]topology.Address{"default": {Host: "10.0.0.9", Port: 7379}}}, 256, 8)
	if err != nil {
		t.Fatal(err)
	}
	s.follow(t, theirs)
	c.want("-MOVED 12182 10.0.0.9:7379", "EXEC")
	c.want("+OK", "MULTI")
	c.want("-MOVED 12182 10.0.0.9:7379", "NP.GET", "foo")
	c.want("-EXECABORT Transaction discarded because of previous errors.", "EXEC")
	mine.Shards = slices.Clone(mine.Shards)
	for i := range mine.Shards {
		mine.Shards[i].Epoch = 9
	}
	s.follow(t, &mine)
	c.want(":0", "EXISTS", "foo")
}

// Queued commands use the upload budget, and release it however the transaction ends.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxArrayBytes: 1 << 20, MaxUploadBytes: 2 << 20, UploadWait: time.Millisecond})
	c, other := s.dial(t), s.dial(t)
	array := bytesNPY(900_000, "")
	end := map[string]func(*client){
		"EXEC":    func(c *client) { c.want("-EXECABORT Transaction discarded because of previous errors.", "EXEC") },
		"DISCARD": func(c *client) { c.want("+OK", "DISCARD") },
		"RESET":   func(c *client) { c.want("+RESET", "RESET") },
		"closed":  func(c *client) { c.Close() },
	}
	for name, ended := range end {
		if name == "closed" {
			c = s.dial(t)
		}
		c.want("+OK", "MULTI")
		c.want("+QUEUED", "NP.SET", "{t}a", array)
		c.want("+QUEUED", "NP.SET", "{t}a", array)
		if got := c.do("NP.SET", "{t}a", array); !strings.HasPrefix(got, "-TOOLARGE too large: the queued commands have more than 2097152 bytes") {
			t.Errorf("%s: %s", name, got)
		}
		other.want("-BUSY too many uploads at once, try again", "NP.SET", "{t}b", array)
		ended(c)
		eventually(t, "the budget is free after "+name, func() bool { return s.budget.Used() == 0 })
		other.want("+OK", "NP.SET", "{t}b", array)
		if name == "closed" {
			c = s.dial(t)
		}
	}
	c.want("+OK", "MULTI")
	c.send(strings.Repeat(encode("PING"), maxQueued))
	for range maxQueued {
		if got := c.reply(); got != "+QUEUED" {
			if !strings.HasPrefix(got, "-TOOLARGE") {
				t.Fatal(got)
			}
			break
		}
	}
}

// A client may pause within a transaction, but not while it holds upload budget.
func TestTransactionThatHoldsBudgetMustGoOn(t *testing.T) {
	t.Parallel()
	s := start(t, Config{UploadStall: 100 * time.Millisecond})
	thinks, holds := s.dial(t), s.dial(t)
	thinks.want("+OK", "MULTI")
	thinks.want("+QUEUED", "NP.SET", "{t}a", arrayA)
	holds.want("+OK", "MULTI")
	holds.want("+QUEUED", "NP.SET", "{t}b", bytesNPY(1<<20, ""))
	if got := holds.closed(); !strings.HasPrefix(got, "-ERR the upload stalled: no bytes for 100ms") {
		t.Error(got)
	}
	thinks.want("[+OK]", "EXEC")
	thinks.want(":0", "EXISTS", "{t}b")
	if n := s.Stats().UploadStalls; n != 1 {
		t.Errorf("%d stalls are counted", n)
	}
}

// An open transaction does not delay the server's shutdown.
func TestCloseEndsOpenTransactions(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "NP.SET", "{t}a", bytesNPY(1<<20, ""))
	if err := s.Server.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := c.closed(); got != "" {
		t.Errorf("the client got %q", got)
	}
}
