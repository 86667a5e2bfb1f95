package cluster

import (
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// stopNews bounds how long gossip takes to send that this node is about to stop.
const stopNews = time.Second

// AnnounceStop tells the other nodes that this one is about to stop: it should get no shards. It does not wait for them.
func (h Handovers) AnnounceStop() {
	c := h.c
	c.life.run(func() {
		if err := c.gossip.tell(stopNews, func(self *meta) { self.stopping = true }); err != nil {
			c.log.Debug("gossip about the stop of this node is delayed", "err", err)
		}
	})
}

// Stays reports whether gossip sees a node alive, and has not heard that it is about to stop.
func (h Handovers) Stays(id topology.NodeID) bool {
	c := h.c
	if id == c.self.ID {
		return true
	}
	i, known := c.members.get(id)
	return known && i.alive && !i.stopping
}
