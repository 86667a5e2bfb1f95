package cluster

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
)

// localNode is this incarnation of this node.
type localNode struct {
	topology.Node        // without the fields that depend on the node's address
	server        string // its server id in raft

	start  Start
	always func() bool // the setting appendfsync is always
	weight func() int  // the setting weight

	addressed atomic.Pointer[topology.Node] // with the address at which others reach it
}

func newLocalNode(n topology.Node, start Start, always func() bool, weight func() int) *localNode {
	l := &localNode{Node: n, server: serverID(n.ID, n.Store), start: start, always: always, weight: weight}
	l.addressed.Store(&n)
	return l
}

// row returns this node as the topology should have it now.
func (l *localNode) row() topology.Node {
	row := *l.addressed.Load()
	row.Always = l.always()
	if row.Weight = l.weight(); row.Weight == topology.DefaultWeight { // as programs that know no weights have it
		row.Weight = 0
	}
	return row
}

// setHost records the host at which others reach this node.
func (l *localNode) setHost(host string) {
	row := l.Node
	row.BusHost = host
	row.Listeners = maps.Clone(row.Listeners)
	for name, a := range row.Listeners {
		if a.Derived && a.Host == "" {
			a.Host = host
			row.Listeners[name] = a
		}
	}
	l.addressed.Store(&row)
}

// in reports whether a topology has this incarnation, with this store.
func (l *localNode) in(t *topology.Topology) bool {
	row, member := t.Node(l.ID)
	return member && row.Incarnation == l.Incarnation && row.Store == l.Store
}

func (l *localNode) label() string { return topology.Label(l.Name, l.ID) }

// lifetime bounds all goroutines of a Cluster.
type lifetime struct {
	ctx     context.Context // done once Close begins
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newLifetime() *lifetime {
	l := &lifetime{}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// run runs f in a goroutine that end waits for.
func (l *lifetime) run(f func()) { l.running.Go(f) }

func (l *lifetime) end() {
	l.cancel()
	l.running.Wait()
}
