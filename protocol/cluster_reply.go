package protocol

import (
	"encoding/binary"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
)

// layout returns the layout of the newest topology.
func (r *router) layout() *layout {
	topo := r.cluster.Topology()
	if l := r.layouts.newest.Load(); l != nil && l.Topology == topo {
		return l
	}
	r.layouts.mu.Lock()
	defer r.layouts.mu.Unlock()
	l := r.layouts.newest.Load()
	if l == nil || l.Topology != topo {
		l = newLayout(topo)
		r.layouts.newest.Store(l)
	}
	return l
}

// answer writes a cached reply. It may depend on the topology, the addresses for this client, and members.
func (r *router) answer(c *call, what string, l *layout, seen members, write func(*resp.Writer, []topology.Address)) {
	key := replyKey{what: what, resp3: c.replies.RESP3, listener: c.from.listener, members: seen.key}
	if at, ok := l.index[r.cluster.Self()]; ok {
		if own := l.Nodes[at].Listeners[c.from.listener]; own.Derived || own.Host == "" || own.Port == 0 {
			key.local = c.from.local.String()
		}
	}
	c.replies.Encoded(l.reply(key, func(w *resp.Writer) { write(w, r.addresses(c.from, l)) }))
}

// addresses returns where a client reaches each node. The port is 0 for nodes that it cannot reach.
func (r *router) addresses(from *origin, l *layout) []topology.Address {
	all := make([]topology.Address, len(l.Nodes))
	for i := range all {
		if at, ok := r.addressOf(from, l.Nodes[i]); ok {
			all[i] = at
		}
	}
	return all
}

// members is the liveness of all nodes of a layout.
type members struct {
	of  []Liveness
	key string // everything that replies say about it
}

func (r *router) members(l *layout) members {
	self := r.cluster.Self()
	found := members{of: make([]Liveness, len(l.Nodes))}
	var key []byte
	for i := range l.Nodes {
		seen := Liveness{Alive: true, Loading: r.store.Disk().Loading()}
		if id := l.Nodes[i].ID; id != self {
			seen = r.cluster.Liveness(id)
		}
		found.of[i] = seen
		switch {
		case !seen.Alive:
			key = binary.AppendVarint(binary.AppendUvarint(key, uint64(2*i)), seen.unixMilli())
		case seen.Loading:
			key = binary.AppendUvarint(key, uint64(2*i+1))
		}
	}
	found.key = string(key)
	return found
}
