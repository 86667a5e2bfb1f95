package protocol

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/shard"
)

// limited starts a server with room for about the given bytes of values.
func limited(t *testing.T, policy shard.Policy, bytes int64) *testServer {
	s := start(t, Config{})
	s.limit(policy, bytes)
	return s
}

func (s *testServer) limit(policy shard.Policy, bytes int64) {
	s.steady()
	config := *s.config.Load()
	config.Memory.Policy, config.Memory.Limit = policy, s.store.Memory().Used()+bytes
	s.Reconfigure(config)
}

// steady fixes the memory of the program itself, which shares its heap with other tests.
func (s *testServer) steady() {
	s.store.Memory().MeasureBy(func() memory.Program { return memory.Program{Heap: 16 << 20, Beside: 16 << 20} })
}

// fill sets a limit below the size of the stored values.
func (s *testServer) fill(policy shard.Policy) {
	config := *s.config.Load()
	config.Memory.Policy, config.Memory.Limit = policy, max(1, s.pool.Allocated()/2)
	s.Reconfigure(config)
}

const oomText = "-OOM command not allowed when used memory > 'maxmemory'."

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	s := limited(t, shard.NoEviction, 4<<20)
	c := s.dial(t)
	large := bytesNPY(1280<<10, "")
	c.want("+OK", "NP.SET", "a", large)
	c.want("+OK", "NP.SET", "b", bytesNPY(1000, ""))
	for refused := 0; ; refused++ {
		got := c.do("NP.SET", fmt.Sprint("k", refused), large)
		if got == oomText {
			break
		}
		if got != "+OK" || refused > 10 {
			t.Fatalf("%d: %s", refused, got)
		}
	}
	c.want(oomText, "NP.SET", "a", bytesNPY(3800<<10, "")) // an overwrite needs room for both values
	c.want(oomText, "NP.MSET", "{a}1", bytesNPY(2500<<10, ""), "{a}2", bytesNPY(2500<<10, ""))
	s.fill(shard.NoEviction)
	c.want(oomText, "NP.SET", "small", bytesNPY(1, ""))
	c.want("+OK", "MULTI")
	c.want(oomText, "NP.SET", "small", bytesNPY(1, ""))
	c.want("-EXECABORT Transaction discarded because of previous errors.", "EXEC")
	if got := c.do("NP.GET", "b"); len(got) < 1000 {
		t.Errorf("a read fails: %.100s", got)
	}
	c.want(":1", "EXPIRE", "b", "100")
	c.want(":1", "NP.DEL", "a")
	s.limit(shard.NoEviction, 8<<20)
	c.want("+OK", "NP.SET", "small", bytesNPY(1, ""))
	if n := s.Stats().DeniedOOM; n < 4 {
		t.Errorf("%d refusals are counted", n)
	}
}

// A transaction that fitted when it was queued is refused as a whole if it no longer fits.
func TestOutOfMemoryAtExec(t *testing.T) {
	t.Parallel()
	s := limited(t, shard.NoEviction, 32<<20)
	c := s.dial(t)
	c.want("+OK", "NP.SET", "b", bytesNPY(1000, ""))
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "NP.SET", "{b}1", bytesNPY(1000, ""))
	c.want("+QUEUED", "NP.DEL", "b")
	s.fill(shard.NoEviction)
	c.want("-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.", "EXEC")
	c.want(":1", "EXISTS", "b")
	c.want(":0", "EXISTS", "{b}1")
}

// A value that cannot fit is refused once its length is known, before its bytes arrive, and evicts nothing.
func TestValueThatCannotFitIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	for _, policy := range []shard.Policy{shard.NoEviction, shard.AllKeysLRU} {
		s := limited(t, policy, 8<<20)
		c := s.dial(t)
		c.want("+OK", "NP.SET", "a", bytesNPY(1000, ""))
		allocated := s.pool.Allocated()
		const n = 500 << 20
		fmt.Fprintf(c, "*3\r\n$6\r\nNP.SET\r\n$1\r\nb\r\n$%d\r\n", n)
		part := strings.Repeat("x", 1<<20)
		for range 10 {
			fmt.Fprint(c, part)
		}
		if now := s.pool.Allocated(); now != allocated {
			t.Errorf("%s: %d bytes are allocated for a value that cannot fit", policy, now-allocated)
		}
		c.Close()
		other := s.dial(t)
		other.want(":1", "EXISTS", "a")
	}
}

func TestEvictionMakesRoom(t *testing.T) {
	t.Parallel()
	s := limited(t, shard.AllKeysLRU, 4<<20)
	c := s.dial(t)
	for i := range 60 {
		c.want("+OK", "NP.SET", fmt.Sprint("k", i), bytesNPY(256<<10, ""))
		s.now.Add(1000)
		c.want(":1", "TOUCH", "k0")
	}
	stats := s.Stats()
	if stats.Store.Evicted < 40 || stats.Store.Keys < 8 || stats.ValueBytes > 4<<20 {
		t.Errorf("%d keys evicted, %d left with %d bytes", stats.Store.Evicted, stats.Store.Keys, stats.ValueBytes)
	}
	c.want(":1", "EXISTS", "k0")
	if got := c.do("INFO", "stats"); !strings.Contains(got, fmt.Sprintf("evicted_keys:%d", stats.Store.Evicted)) {
		t.Errorf("INFO stats: %s", got)
	}
	if got := c.do("INFO", "memory"); !strings.Contains(got, "maxmemory_policy:allkeys-lru") {
		t.Errorf("INFO memory: %s", got)
	}
}

func TestObjectFreq(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "NP.SET", "k", bytesNPY(1, ""))
	if got := c.do("OBJECT", "FREQ", "k"); !strings.HasPrefix(got, "-ERR An LFU maxmemory policy is not selected") {
		t.Error(got)
	}
	s.limit(shard.AllKeysLFU, 1<<30)
	c.want(":5", "OBJECT", "FREQ", "k")
	for range 200 {
		c.do("NP.GET", "k")
	}
	var n int
	fmt.Sscanf(c.do("OBJECT", "FREQ", "k"), ":%d", &n)
	if n < 8 || n > 30 {
		t.Errorf("the frequency is %d after 200 uses", n)
	}
	c.want("+OK", "NP.SET", "k", bytesNPY(2, "")) // the counter belongs to the key, not the value
	c.want(fmt.Sprint(":", n), "OBJECT", "FREQ", "k")
	s.now.Add(3 * time.Minute.Milliseconds())
	c.want(fmt.Sprint(":", n-3), "OBJECT", "FREQ", "k")
	c.want("$nil", "OBJECT", "FREQ", "none")
}
