package loadtest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// maxFlying is the number of operations on a group at a time. With the bound of unknown outcomes it bounds what the
// checker has to try out.
const maxFlying = 4

// group is a few keys with one hash tag and their history. After a number of operations, or of unknown outcomes, it
// retires, and new keys take its place.
type group struct {
	tag      string
	expiring bool // it has short deadlines

	address atomic.Pointer[string] // of the node that last served it

	mu      sync.Mutex // guards all below
	start   state      // before the first of history
	history []*operation
	tail    []*operation // before start, for excerpts
	sent    int          // operations, refused ones included
	flying  int          // operations without an end
	open    int          // writes with an unknown outcome
	retired bool
	changed bool // history has operations that no check has seen
	stamps  [keysPerGroup][4]stamp

	checked int // operations of history that the report counts. One checker at a time uses it
}

// stamp is a value and its version, as a reply told them.
type stamp struct {
	value   uint64
	version version
}

func (g *group) key(k uint8) string { return "{" + g.tag + "}" + keyName(k) }

// node returns the address to which a client sends the next command.
func (g *group) node(c *client) string {
	if address := g.address.Load(); address != nil {
		return *address
	}
	return c.anyAddress()
}

// served notes which node serves the group.
func (g *group) served(address string) {
	if old := g.address.Load(); old == nil || *old != address {
		g.address.Store(&address)
	}
}

// misled forgets a node that does not serve the group, unless another one is known meanwhile.
func (g *group) misled(address string) {
	if old := g.address.Load(); old != nil && *old == address {
		g.address.CompareAndSwap(old, nil)
	}
}

// enter begins an operation, if the group takes one more.
func (g *group) enter() (ok, retired bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired || g.flying >= maxFlying {
		return false, g.retired
	}
	g.flying++
	g.sent++
	return true, false
}

// uncount makes an operation that has not ended yet not count for the group's retirement.
func (g *group) uncount() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent--
}

// leave ends an operation, and reports whether it was the last one. The group retires if it has had this many operations or
// unknown outcomes.
func (g *group) leave(operations, open int) (finished bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying--
	g.retired = g.retired || g.sent >= operations || g.open >= open
	return g.retired && g.flying == 0
}

// retire makes the group take no more operations.
func (g *group) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = true
}

// add adds an operation to the history, unless it can tell nothing.
func (g *group) add(o *operation) {
	if o.outcome == refused || o.outcome == aborted || o.outcome == unknown && o.reads() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.history = append(g.history, o)
	g.changed = true
	if o.outcome == unknown {
		g.open++
		return
	}
	for i := range o.commands {
		c, r := &o.commands[i], &o.replies[i]
		switch {
		case r.refused || !r.done:
		case c.kind.sets():
			g.learn(c.key, stamp{c.value, r.version})
		case c.kind == get:
			g.learn(c.key, stamp{r.value, r.version})
		}
	}
}

func (g *group) learn(key uint8, s stamp) {
	stamps := &g.stamps[key]
	if stamps[0] != s {
		copy(stamps[1:], stamps[:])
		stamps[0] = s
	}
}

// stamp returns a value of a key and its version, mostly the newest that a reply told.
func (g *group) stamp(r *rand.Rand, key uint8) (s stamp, found bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	stamps := &g.stamps[key]
	s = stamps[0]
	if r.IntN(5) == 0 {
		if older := stamps[r.IntN(len(stamps))]; older != (stamp{}) {
			s = older
		}
	}
	return s, s != stamp{}
}

// tailLength is the number of operations that a group keeps for excerpts when it settles.
const tailLength = 12

// settle replaces a history that was checked by the state that its last operation has read, when no other was
// going on and no outcome is unknown.
func (g *group) settle(m model, read *operation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.history)
	if g.open > 0 || g.flying > 0 || n == 0 || g.history[n-1] != read {
		return
	}
	g.start = m.stateOf(read)
	g.tail = append([]*operation(nil), g.history[max(0, n-tailLength):]...)
	g.history, g.checked = nil, 0
}

// closingRead is what is read of a group whose history ends.
func closingRead() []command {
	var all []command
	for key := range uint8(keysPerGroup) {
		all = append(all, command{kind: get, key: key}, command{kind: meta, key: key})
	}
	return all
}

// stateOf returns the state that a closing read tells.
func (m model) stateOf(read *operation) (s state) {
	for i := range read.commands {
		c, r := &read.commands[i], &read.replies[i]
		k := &s[c.key]
		switch {
		case !r.done:
		case c.kind == get:
			*k = keyState{present: true, value: r.value, version: r.version, newest: r.version}
		case r.ttl > farAway/2:
			m.limit(k, read, farAway)
		case r.ttl >= 0:
			m.limit(k, read, r.ttl)
		}
	}
	return s
}

// repeated notes the reply to the repeat of a request.
func (g *group) repeated(o *operation, r reply) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o.again = &r
	g.changed = true
}

// look returns the state before the history, and the history, if there is anything new in it.
func (g *group) look() (start state, tail, history []*operation, changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed = g.changed
	g.changed = false
	return g.start, g.tail, append([]*operation(nil), g.history...), changed
}
