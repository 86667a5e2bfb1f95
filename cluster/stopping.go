package cluster

import (
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// stopNews bounds how long gossip takes to send that this node is about to stop.
const stopNews = time.Second

// AnnounceStop tells the other nodes that this one is about to stop: it should get no shards. It does not wait for them.
func (c *Cluster) AnnounceStop() {
	c.life.run(func() {
		if err := c.gossip.tell(stopNews, func(self *meta) { self.stopping = true }); err != nil {
			c.log.Debug("gossip about the stop of this node is delayed", "err", err)
		}
	})
}

// Stays reports whether gossip sees a node alive, and has not heard that it is about to stop.
func (c *Cluster) Stays(id topology.NodeID) bool {
	if id == c.self.ID {
		return true
	}
	i, known := c.members.get(id)
	return known && i.alive && !i.stopping
}
