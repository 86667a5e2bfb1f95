package cluster

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// sights is what this node sees of the others. Gossip writes it, everybody reads it; nobody waits for anything under its lock.
type sights struct {
	self        topology.NodeID
	incarnation uint64
	log         *slog.Logger
	now         func() time.Time

	mu       sync.Mutex // guards all below
	peers    map[topology.NodeID]*peer
	twins    []instance          // nodes that say that they are this one
	others   map[string]instance // nodes of other clusters, by their address
	watchers map[chan<- struct{}]struct{}
}

// instance is one start of a node.
type instance struct {
	meta
	moves       int // how often it had changed its address
	alive       bool
	since       time.Time // when it came or went
	gossip, bus string    // addresses
	twice       bool      // an earlier start seems to live too
}

// peer is a node, with those of its starts that gossip has told of lately.
type peer struct {
	instances []instance // by incarnation
	gone      []time.Time
}

// flapWindow is how long a node's goings are remembered.
const flapWindow = time.Minute

func newSights(self topology.NodeID, incarnation uint64, log *slog.Logger) *sights {
	return &sights{
		self: self, incarnation: incarnation, log: log, now: time.Now,
		peers: map[topology.NodeID]*peer{}, others: map[string]instance{}, watchers: map[chan<- struct{}]struct{}{},
	}
}

// watch wakes c, which should have room for one, when something changes.
func (s *sights) watch(c chan<- struct{}) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[c] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, c)
	}
}

func (s *sights) wake() {
	for c := range s.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// note takes down that a node came, changed or went.
func (s *sights) note(i instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.since = s.now()
	defer s.wake()
	if i.node == s.self {
		if i.incarnation != s.incarnation {
			s.twins = slices.DeleteFunc(s.twins, func(t instance) bool { return t.incarnation == i.incarnation })
			if i.alive {
				s.twins = append(s.twins, i)
				if i.incarnation > s.incarnation {
					s.log.Warn("another node says that it is this one", "address", i.bus)
				}
			}
		}
		return
	}
	p := s.peers[i.node]
	if p == nil {
		p = &peer{}
		s.peers[i.node] = p
	}
	before, _ := p.current()
	at, known := slices.BinarySearchFunc(p.instances, i.incarnation, func(a instance, n uint64) int { return compare(a.incarnation, n) })
	if known {
		if p.instances[at].moves > i.moves {
			return // of where it was before
		}
		if old := p.instances[at]; old.alive == i.alive {
			i.since = old.since
		}
		p.instances[at] = i
	} else {
		p.instances = slices.Insert(p.instances, at, i)
	}
	p.instances = slices.DeleteFunc(p.instances, func(o instance) bool { // what nobody will ask for
		return !o.alive && o.incarnation < p.newest()
	})
	now, _ := p.current()
	switch {
	case before.alive && (!now.alive || now.incarnation != before.incarnation):
		p.gone = append(slices.DeleteFunc(p.gone, func(t time.Time) bool { return s.now().Sub(t) > flapWindow }), s.now())
		if !now.alive {
			s.log.Warn("a node has gone", "node", label(now.name, now.node), "address", now.bus)
		} else {
			s.log.Info("a node was started anew", "node", label(now.name, now.node), "address", now.bus)
		}
	case now.alive && !before.alive:
		s.log.Info("a node has come", "node", label(now.name, now.node), "address", now.bus)
	}
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (p *peer) newest() uint64 { return p.instances[len(p.instances)-1].incarnation }

// current returns the newest start that lives, or else the newest.
func (p *peer) current() (instance, bool) {
	for _, i := range slices.Backward(p.instances) {
		if i.alive {
			return i, true
		}
	}
	if len(p.instances) == 0 {
		return instance{}, false
	}
	return p.instances[len(p.instances)-1], true
}

// living counts the starts that live.
func (p *peer) living() (n int) {
	for _, i := range p.instances {
		if i.alive {
			n++
		}
	}
	return n
}

// maxForeign is how many nodes of other clusters are told of.
const maxForeign = 100

// remembered is how long a node that is gone and no member is told of.
const remembered = 10 * time.Minute

// forget drops what is known of nodes that are long gone and of which keep is not true.
func (s *sights) forget(keep func(topology.NodeID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.peers {
		if i, _ := p.current(); !i.alive && s.now().Sub(i.since) > remembered && !keep(id) {
			delete(s.peers, id)
		}
	}
}

// foreign takes down a node of another cluster, and reports whether it is new here.
func (s *sights) foreign(address string, m meta) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.others[address]
	if !known && len(s.others) >= maxForeign {
		return false
	}
	s.others[address] = instance{meta: m, gossip: address, since: s.now()}
	return !known || old.cluster != m.cluster
}

// twinsAlive returns the nodes that say that they are this one.
func (s *sights) twinsAlive() []instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.twins)
}

// get returns the newest start of a node.
func (s *sights) get(id topology.NodeID) (instance, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.peers[id]; p != nil {
		return p.current()
	}
	return instance{}, false
}

// seesServer reports whether a node lives with the data folder that a server of raft is of.
func (c *Cluster) seesServer(node topology.NodeID, store string) bool {
	if node == c.self.ID {
		return store == c.self.Store
	}
	i, known := c.sights.get(node)
	return known && i.alive && i.store == store
}

// alive returns all other nodes that live, by id.
func (s *sights) alive() []instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []instance
	for _, p := range s.peers {
		if i, ok := p.current(); ok && i.alive {
			i.twice = p.living() > 1
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b instance) int { return strings.Compare(string(a.node), string(b.node)) })
	return all
}

// view returns what the controller needs to know of all nodes, this one included.
func (s *sights) view() map[topology.NodeID]topology.Sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[topology.NodeID]topology.Sight{s.self: {Alive: true, Incarnation: s.incarnation}}
	for id, p := range s.peers {
		i, _ := p.current()
		sight := topology.Sight{Alive: i.alive, Incarnation: i.incarnation, Since: i.since.UnixMilli()}
		for _, t := range p.gone {
			if s.now().Sub(t) <= flapWindow {
				sight.Flaps++
				sight.LastFlap = t.UnixMilli()
			}
		}
		all[id] = sight
	}
	return all
}
