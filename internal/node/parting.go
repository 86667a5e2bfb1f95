package node

import (
	"context"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// parting is a shard that was handed over here and whose new node may not have heard of it. To send a client there would have it sent back, and again, until it
// gives up: most follow a few redirects and do not wait in between. So it waits here, as while the handover was under way.
type parting struct {
	epoch uint64 // of the row that names the new node
	to    topology.NodeID
	heard bool // the new node routes by that row, or nobody waits for it any longer
}

// keepBack returns t as clients may see it, in which shards that are parting are still this node's, and the nodes that are now to be asked whether they have heard.
func (o *obedience) keepBack(t *topology.Topology) (shown *topology.Topology, ask []topology.NodeID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	shown = t
	for i, row := range t.Shards {
		id := topology.ShardID(i)
		if o.routed == nil || i >= len(o.routed.Shards) || o.routed.Shards[i].Primary != o.self || row.Primary == "" || row.Primary == o.self || !o.alive(row.Primary) {
			delete(o.parting, id)
			continue
		}
		p, known := o.parting[id]
		if !known || p.epoch != row.Epoch {
			p = parting{epoch: row.Epoch, to: row.Primary}
			o.parting[id] = p
			if !slices.Contains(ask, p.to) {
				ask = append(ask, p.to)
			}
		}
		if p.heard {
			delete(o.parting, id)
			continue
		}
		if shown == t {
			changed := *t
			changed.Shards = slices.Clone(t.Shards)
			shown = &changed
		}
		shown.Shards[i] = o.routed.Shards[i]
	}
	return shown, ask
}

// part waits until a node has heard of topology t, for a while at most; then clients are sent to it.
func (o *obedience) part(ctx context.Context, to topology.NodeID, t *topology.Topology) {
	if err := o.hears(ctx, to, t.Index); err != nil {
		o.log.Debug("clients are sent on to a node that may not have heard of it", "node", to, "err", err)
	}
	o.mu.Lock()
	for id, p := range o.parting {
		if p.to == to && p.epoch <= t.Shards[id].Epoch {
			p.heard = true
			o.parting[id] = p
		}
	}
	o.mu.Unlock()
	o.wake()
}
