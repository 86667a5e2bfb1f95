package protocol

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// history is what a key has been: the number of each value, or missing, in order. Its writer adds a state before it asks for it,
// and moves known once the state is known to have been reached.
type history struct {
	mu     sync.Mutex
	states []int
	known  int // index of the oldest state that a reader may still see
}

const missing = -1

func (h *history) ask(states ...int) (first int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first = len(h.states)
	h.states = append(h.states, states...)
	return first
}

func (h *history) reached(index int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = index
}

func (h *history) oldest() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// allows reports whether a reader may see a state, if what was known when it looked was an index.
func (h *history) allows(known, state int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.states[known:], state)
}

// cacheTest is a server, keys with their histories, and writers that change them in all ways.
type cacheTest struct {
	*testServer
	t     *testing.T
	keys  []string
	past  []history
	whole sync.RWMutex // held by those who change all keys
	stop  chan struct{}
	epoch uint64
}

func (x *cacheTest) stopped() bool {
	select {
	case <-x.stop:
		return true
	default:
		return x.t.Failed()
	}
}

// numbered is an array that says which value it is.
func numbered(n int) string { return npy("|S12", "()", fmt.Sprintf("%012d", n)) }

// write changes the keys of one writer until the test stops.
func (x *cacheTest) write(r *rand.Rand, mine []int) {
	c := x.dial(x.t)
	for n := 0; !x.stopped(); n++ {
		x.whole.RLock()
		x.change(c, r, mine[r.IntN(len(mine))], n)
		x.whole.RUnlock()
		if r.IntN(4) == 0 {
			time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
		}
	}
}

func (x *cacheTest) change(c *client, r *rand.Rand, i, n int) {
	key, h := x.keys[i], &x.past[i]
	value := i*1_000_000_000 + n
	switch r.IntN(7) {
	case 0, 1:
		at := h.ask(value)
		c.want("+OK", "NP.SET", key, numbered(value))
		h.reached(at)
	case 2:
		at := h.ask(value)
		c.want("+OK", "NP.MSET", key, numbered(value))
		h.reached(at)
	case 3:
		at := h.ask(missing)
		c.do("DEL", key)
		h.reached(at)
	case 4:
		at := h.ask(value) // no reader sees the values in between
		c.send(encode("MULTI") + encode("DEL", key) + encode("NP.SET", key, numbered(value)) + encode("EXEC"))
		for range 4 {
			c.reply()
		}
		h.reached(at)
	case 5:
		at := h.ask(value, missing)
		c.want("+OK", "NP.SET", key, numbered(value), "PX", "5")
		h.reached(at)
		x.now.Add(10)
		for !x.t.Failed() && x.removeExpired(key) {
		}
		h.reached(at + 1)
	case 6:
		at := h.ask(value)
		c.want("+OK", "NP.SET", key, numbered(value), "EX", "1000000000")
		c.do("PERSIST", key)
		h.reached(at)
	}
}

func (x *cacheTest) removeExpired(key string) (more bool) {
	return shard.RemoveExpired(x.store.Shard(int(topology.ShardOf(topology.Slot([]byte(key)), shard.Count(x.store)))), 100)
}

// changeAll empties the node, or lets another node serve all shards for a while, after which they begin empty.
func (x *cacheTest) changeAll(c *client, r *rand.Rand) {
	x.whole.Lock()
	defer x.whole.Unlock()
	at := make([]int, len(x.keys))
	for i := range x.past {
		at[i] = x.past[i].ask(missing)
	}
	if r.IntN(3) == 0 {
		c.want("+OK", "FLUSHALL")
	} else {
		x.moveAway()
		time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
		x.moveBack()
	}
	for i := range x.past {
		x.past[i].reached(at[i])
	}
}

func (x *cacheTest) moveAway() {
	x.epoch++
	x.owner(otherID)
	other := replica.Process{Node: otherID, Incarnation: 1}
	for i := range shard.Count(x.store) {
		if err := x.store.Shard(i).Role().Configure(replica.Config{Epoch: x.epoch, LeaderEpoch: x.epoch, Primary: other, ISR: []replica.Process{other}}); err != nil {
			x.t.Error(err)
		}
	}
}

func (x *cacheTest) moveBack() {
	x.epoch++
	for i := range shard.Count(x.store) {
		if err := x.store.Shard(i).Role().Open(x.epoch, x.epoch); err != nil {
			x.t.Error(err)
		}
	}
	x.owner(selfID)
}

func (x *cacheTest) owner(id topology.NodeID) {
	topo := *x.topo.Load()
	topo.Nodes = append(topo.Nodes[:1:1], topology.Node{ID: otherID, Listeners: map[string]topology.Address{"default": {Host: "10.0.0.9", Port: 7000}}})
	topo.Shards = slices.Clone(topo.Shards)
	for i := range topo.Shards {
		topo.Shards[i].Primary, topo.Shards[i].Epoch, topo.Shards[i].LeaderEpoch = id, x.epoch, x.epoch
	}
	x.topo.Store(&topo)
}

// cache is a client that keeps what it has read until it is told that it may have changed. It follows docs/protocol.md.
type cache struct {
	net.Conn
	*bufio.Reader
	have   map[string]int
	asked  []string // keys of the reads whose replies have not come yet, "" for a command without a key
	pushes int
}

func (c *cache) ask(key string, args ...string) error {
	c.asked = append(c.asked, key)
	_, err := io.WriteString(c, encode(args...))
	return err
}

// settle takes all replies that are due, and the pushes between them.
func (c *cache) settle() error {
	for len(c.asked) > 0 {
		got, err := resptest.Render(c.Reader)
		if err != nil {
			return err
		}
		if c.push(got) {
			continue
		}
		key := c.asked[0]
		c.asked = c.asked[1:]
		if err := c.read(key, got); err != nil {
			return err
		}
	}
	return nil
}

func (c *cache) push(got string) bool {
	keys, isKeys := strings.CutPrefix(got, `>["invalidate" [`)
	switch {
	case got == anything:
		clear(c.have)
	case isKeys:
		for _, key := range strings.Fields(strings.TrimSuffix(keys, "]]")) {
			delete(c.have, strings.Trim(key, `"`))
		}
	default:
		return false
	}
	c.pushes++
	return true
}

// read keeps what a reply says of a key. Pushes come in the order of events, so what came before the reply does not concern it.
func (c *cache) read(key, got string) error {
	if key == "" || strings.HasPrefix(got, "-") {
		return nil
	}
	got = strings.Trim(got, "[]")
	if got == "nil" {
		c.have[key] = missing
		return nil
	}
	if len(got) < 13 {
		return fmt.Errorf("%s: %q is not a value", key, got)
	}
	n, err := strconv.Atoi(got[len(got)-13 : len(got)-1])
	c.have[key] = n
	return err
}

// look reads keys of the cache, which must not be older than what was known before, and fills it.
func (x *cacheTest) look(c *cache, r *rand.Rand) error {
	known := make([]int, len(x.past))
	for i := range x.past {
		known[i] = x.past[i].oldest()
	}
	if err := c.ask("", "PING"); err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	for i, key := range x.keys {
		if have, found := c.have[key]; found && !x.past[i].allows(known[i], have) {
			return fmt.Errorf("key %s: the cache has %d, and state %d was known before", key, have, known[i])
		}
	}
	for range r.IntN(20) {
		key := x.keys[r.IntN(len(x.keys))]
		command := []string{"NP.GET", key}
		switch r.IntN(4) {
		case 0:
			command = []string{"NP.MGET", key}
		case 1:
			if err := errors.Join(c.ask("", "MULTI"), c.ask("", "NP.GET", key), c.ask(key, "EXEC")); err != nil {
				return err
			}
			continue
		}
		if err := c.ask(key, command...); err != nil {
			return err
		}
	}
	return c.settle()
}

// readCached is a client with a cache, until the test stops. It restarts now and then.
func (x *cacheTest) readCached(r *rand.Rand, options ...string) (looks, pushes int) {
	for !x.stopped() {
		nc, err := net.Dial("tcp", x.addr)
		if err != nil {
			x.t.Error(err)
			return
		}
		nc.SetDeadline(time.Now().Add(time.Minute))
		c := &cache{Conn: nc, Reader: bufio.NewReader(nc), have: map[string]int{}}
		err = errors.Join(c.ask("", "HELLO", "3"), c.ask("", append([]string{"CLIENT", "TRACKING", "ON"}, options...)...), c.settle())
		for range 50 + r.IntN(200) {
			if err != nil || x.stopped() {
				break
			}
			err = x.look(c, r)
			looks++
		}
		if err != nil {
			x.t.Errorf("options %v: %v", options, err)
		}
		pushes += c.pushes
		nc.Close()
	}
	return looks, pushes
}

// A read is noted before the value is looked up: whatever a write does meanwhile, a client that gets the old value is told.
func TestReadsBesideAWrite(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	w := s.dial(t)
	var readers []*client
	for range 4 {
		readers = append(readers, s.caching(t))
	}
	const rounds = 4000
	told, old := 0, 0
	w.want("+OK", "NP.SET", "k", numbered(0))
	for n := 1; n <= rounds && !t.Failed(); n++ {
		for i, c := range readers {
			if i == n%4 {
				w.send(encode("NP.SET", "k", numbered(n)))
			}
			c.send(encode("NP.GET", "k"))
		}
		if got := w.reply(); got != "+OK" {
			t.Fatal(got)
		}
		for _, c := range readers {
			got := c.reply()
			for strings.HasPrefix(got, ">") { // of the last round's value
				got = c.reply()
			}
			stale := got == `"`+numbered(n-1)+`"`
			c.send(encode("PING"))
			dropped := false
			for got = c.reply(); got != "+PONG"; got = c.reply() {
				dropped, told = true, told+1
			}
			if stale {
				old++
				if !dropped {
					t.Errorf("round %d: a client has read the old value and was not told", n)
				}
			}
		}
	}
	t.Logf("%d old values, %d messages", old, told)
}

// TestCachesAreNeverStale lets clients with caches read while others change keys in all ways and shards move: what a cache has after a
// PING is never older than what was acknowledged before the PING.
func TestCachesAreNeverStale(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	s := startOn(t, Config{TrackingTableMaxKeys: 25}, 16, func(*shard.Store) {})
	x := &cacheTest{testServer: s, t: t, past: make([]history, 30), stop: make(chan struct{}), epoch: 10}
	for i := range x.past {
		x.keys = append(x.keys, fmt.Sprintf("%c%d", "ab"[i%2], i))
		x.past[i].ask(missing)
	}
	random := func(i uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, i)) }
	var group sync.WaitGroup
	for w := range 3 {
		var mine []int
		for i := w; i < len(x.keys); i += 3 {
			mine = append(mine, i)
		}
		group.Go(func() { x.write(random(uint64(w)), mine) })
	}
	group.Go(func() {
		c, r := s.dial(t), random(10)
		for !x.stopped() {
			time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
			x.changeAll(c, r)
		}
	})
	var looks, pushes [4]int
	for i, options := range [][]string{{}, {}, {"BCAST"}, {"BCAST", "PREFIX", "a", "PREFIX", "b", "NOLOOP"}} {
		group.Go(func() { looks[i], pushes[i] = x.readCached(random(uint64(20+i)), options...) })
	}
	time.Sleep(3 * time.Second)
	close(x.stop)
	group.Wait()
	t.Logf("seed %d: looks %v, pushes %v", seed, looks, pushes)
	for i := range looks {
		if looks[i] < 20 || pushes[i] < 20 {
			t.Errorf("client %d: %d looks, %d pushes", i, looks[i], pushes[i])
		}
	}
	eventually(t, "nothing is left of the clients", func() bool { return s.Stats().Tracking.Clients == 0 })
	if got := s.Stats().Tracking; got.Items != 0 || got.Keys != 0 || got.Prefixes != 0 {
		t.Errorf("%+v is left", got)
	}
}
