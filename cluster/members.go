package cluster

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// members is what gossip knows about other nodes. Gossip writes it and every part reads it; its
// lock is never held while waiting.
type members struct {
	self        topology.NodeID
	incarnation uint64
	log         *slog.Logger
	now         func() time.Time

	mu         sync.Mutex // guards all below
	nodes      map[topology.NodeID]*member
	duplicates []incarnation          // live incarnations of this node, other than this one
	foreign    map[string]incarnation // nodes of other clusters, by address
	watchers   map[chan<- struct{}]struct{}
}

// incarnation is one start of a node, as gossip describes it.
type incarnation struct {
	meta
	moves       int // how often it had changed its address
	alive       bool
	since       time.Time // of the last change of alive
	gossip, bus string    // addresses
	duplicated  bool      // an earlier incarnation of the node seems to be alive too
}

// member is a node and those of its incarnations that gossip has reported lately.
type member struct {
	incarnations []incarnation // in ascending order
	deaths       []time.Time   // within flapWindow
}

const (
	flapWindow     = time.Minute      // for which a node's deaths are remembered
	maxForeign     = 100              // nodes of other clusters that are remembered
	rememberedTime = 10 * time.Minute // for which a dead non-member is remembered
)

func newMembers(self topology.NodeID, own uint64, log *slog.Logger) *members {
	return &members{
		self: self, incarnation: own, log: log, now: time.Now,
		nodes: map[topology.NodeID]*member{}, foreign: map[string]incarnation{}, watchers: map[chan<- struct{}]struct{}{},
	}
}

// watch sends to c, which should have a capacity of 1, whenever something changes.
func (m *members) watch(c chan<- struct{}) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[c] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
	}
}

func (m *members) notify() {
	for c := range m.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// observe records that an incarnation appeared, changed or died.
func (m *members) observe(i incarnation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.notify()
	i.since = m.now()
	if i.node == m.self {
		m.observeSelf(i)
		return
	}
	node := m.nodes[i.node]
	if node == nil {
		node = &member{}
		m.nodes[i.node] = node
	}
	before, _ := node.current()
	if !node.set(i) {
		return
	}
	now, _ := node.current()
	who := []any{"node", topology.Label(now.name, now.node), "address", now.bus}
	switch {
	case before.alive && !now.alive:
		node.died(m.now())
		m.log.Warn("node is down", who...)
	case before.alive && now.incarnation != before.incarnation:
		node.died(m.now())
		m.log.Info("node restarted", who...)
	case now.alive && !before.alive:
		m.log.Info("node is up", who...)
	}
}

// observeSelf records an incarnation of this node.
func (m *members) observeSelf(i incarnation) {
	if i.incarnation == m.incarnation {
		return
	}
	m.duplicates = slices.DeleteFunc(m.duplicates, func(d incarnation) bool { return d.incarnation == i.incarnation })
	if !i.alive {
		return
	}
	m.duplicates = append(m.duplicates, i)
	if i.incarnation > m.incarnation {
		m.log.Warn("another process claims this node's id", "address", i.bus)
	}
}

// set replaces or adds an incarnation, and drops dead ones that are older than the newest. It
// reports false for news about an address that the incarnation has left.
func (n *member) set(i incarnation) bool {
	at, known := slices.BinarySearchFunc(n.incarnations, i.incarnation, func(a incarnation, id uint64) int { return cmp.Compare(a.incarnation, id) })
	if !known {
		n.incarnations = slices.Insert(n.incarnations, at, i)
	} else {
		old := n.incarnations[at]
		if old.moves > i.moves {
			return false
		}
		if old.alive == i.alive {
			i.since = old.since
		}
		n.incarnations[at] = i
	}
	newest := n.incarnations[len(n.incarnations)-1].incarnation
	n.incarnations = slices.DeleteFunc(n.incarnations, func(o incarnation) bool { return !o.alive && o.incarnation < newest })
	return true
}

func (n *member) died(now time.Time) {
	n.deaths = append(slices.DeleteFunc(n.deaths, func(t time.Time) bool { return now.Sub(t) > flapWindow }), now)
}

// current returns the newest live incarnation, or the newest one if none is alive.
func (n *member) current() (incarnation, bool) {
	for _, i := range slices.Backward(n.incarnations) {
		if i.alive {
			return i, true
		}
	}
	if len(n.incarnations) == 0 {
		return incarnation{}, false
	}
	return n.incarnations[len(n.incarnations)-1], true
}

func (n *member) countAlive() (count int) {
	for _, i := range n.incarnations {
		if i.alive {
			count++
		}
	}
	return count
}

// format returns the latest format that all live processes of the node know; 0 if none is alive. Of two processes the
// later one may be the one that ends, and the other would not survive a format that it does not know.
func (n *member) format() (known int) {
	for _, i := range n.incarnations {
		if own := max(i.format, topology.Format1); i.alive && (known == 0 || own < known) {
			known = own
		}
	}
	return known
}

// sole reports whether gossip sees an incarnation of a node alive and no other process of that node.
func (m *members) sole(id topology.NodeID, incarnation uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id == m.self {
		return incarnation == m.incarnation && len(m.duplicates) == 0
	}
	n := m.nodes[id]
	if n == nil || n.countAlive() != 1 {
		return false
	}
	i, _ := n.current()
	return i.incarnation == incarnation
}

// prune drops nodes that have been dead for long, unless keep returns true for them.
func (m *members) prune(keep func(topology.NodeID) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.nodes {
		if i, _ := n.current(); !i.alive && m.now().Sub(i.since) > rememberedTime && !keep(id) {
			delete(m.nodes, id)
		}
	}
}

// observeForeign records a node of another cluster, and reports whether it is new here.
func (m *members) observeForeign(address string, node meta) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.foreign[address]
	if !known && len(m.foreign) >= maxForeign {
		return false
	}
	m.foreign[address] = incarnation{meta: node, gossip: address, since: m.now()}
	return !known || old.cluster != node.cluster
}

// listDuplicates returns the other incarnations of this node that gossip sees alive.
func (m *members) listDuplicates() []incarnation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.duplicates)
}

// get returns the current incarnation of a node.
func (m *members) get(id topology.NodeID) (incarnation, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[id]; n != nil {
		return n.current()
	}
	return incarnation{}, false
}

// alive returns all other live nodes, by id.
func (m *members) alive() []incarnation {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []incarnation
	for _, n := range m.nodes {
		if i, ok := n.current(); ok && i.alive {
			i.duplicated = n.countAlive() > 1
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b incarnation) int { return strings.Compare(string(a.node), string(b.node)) })
	return all
}

// liveness returns what the controller needs to know about each node, this one included.
func (m *members) liveness() map[topology.NodeID]topology.Liveness {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[topology.NodeID]topology.Liveness{m.self: {Alive: true, Incarnation: m.incarnation, Format: topology.LatestFormat}}
	for id, n := range m.nodes {
		i, _ := n.current()
		liveness := topology.Liveness{Alive: i.alive, Stopping: i.stopping, Format: n.format(), Incarnation: i.incarnation, Since: i.since.UnixMilli()}
		for _, t := range n.deaths {
			if m.now().Sub(t) <= flapWindow {
				liveness.Flaps++
				liveness.LastFlap = t.UnixMilli()
			}
		}
		all[id] = liveness
	}
	return all
}
