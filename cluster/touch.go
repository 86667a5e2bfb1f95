package cluster

import (
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// keepInTouch keeps the address book, and calls on known addresses that gossip does not see: a partition does not heal by itself.
func (c *Cluster) keepInTouch() {
	seen := make(chan struct{}, 1)
	defer c.sights.watch(seen)()
	next := time.NewTimer(0)
	defer next.Stop()
	for met := false; ; {
		select {
		case <-c.context.Done():
			return
		case <-seen:
			c.note()
		case <-next.C:
			c.follow()
			c.note()
			if c.rejoin(); !met {
				met = true
				close(c.met)
			}
			c.stay()
			wait := c.timing.Rejoin
			if c.Waiting() != "" {
				wait = min(wait, time.Second)
			}
			next.Reset(wait)
		}
	}
}

// follow keeps others told of where this node is reached.
func (c *Cluster) follow() {
	if moved, err := c.gossip.follow(); err != nil {
		c.log.Warn("cannot tell others the address of this node", "err", err)
	} else if moved {
		c.settle()
		c.streams.renew()
		c.bus.Renew()
	}
}

// stay keeps this start of the node a member, with the address that it has. The topology may go back to before it came, or was started anew: by a recovery of a
// node that had not heard of it (OpenRecovery). Whoever leads then need not know that there is somebody to tell, so that a node which hears of no leader asks
// around.
func (c *Cluster) stay() {
	a, t := c.agreement.Load(), c.Topology()
	if a == nil || t.Cluster == "" || c.Waiting() != "" { // become sees to it
		return
	}
	leader := a.leader()
	row, member := t.Node(c.self.ID)
	switch {
	case member && row.Incarnation > c.self.Incarnation, !member && t.Forgotten[c.self.ID] >= c.self.Incarnation:
		return // only a later start is a member
	case leader == "":
		c.turn++
		c.tell("ask the others who leads", c.askAround(c.turn))
	case !member || row.Incarnation < c.self.Incarnation || row.BusHost != c.row.Load().BusHost:
		c.tell("have the topology take this start of the node and its address", c.joinAgain(leader))
	}
}

// tell notes that something did not work that is tried again.
func (c *Cluster) tell(what string, err error) {
	if err != nil {
		c.log.Debug("cannot "+what+" yet", "err", err)
	}
}

// note writes down where the members are, and forgets those that are none any more.
func (c *Cluster) note() {
	own, t := c.ID(), c.Topology()
	if own == "" {
		return
	}
	member := func(id topology.NodeID) bool {
		_, known := t.Node(id)
		return known || t.Cluster == ""
	}
	for _, i := range c.sights.alive() {
		if i.cluster == own && member(i.node) {
			c.book.put(i.node, entry{Gossip: i.gossip, Bus: i.bus, Name: i.name})
		}
	}
	c.book.forget(member)
	c.sights.forget(member)
	if len(t.Nodes) > 1 {
		if err := c.founded(); err != nil {
			c.log.Warn("cannot write down that the cluster has other members", "err", err)
		}
	}
	if err := c.book.save(); err != nil {
		c.log.Warn("cannot write the address book", "err", err)
	}
}

// founded forgets how the cluster began, once it has other members: if this node should ever lose its log of the topology, it must not begin it again.
func (c *Cluster) founded() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.identity.Made == nil {
		return nil
	}
	c.identity.Made = nil
	return c.identity.save(c.files)
}

// rejoin calls on the nodes that gossip does not see.
func (c *Cluster) rejoin() {
	alive := c.sights.alive()
	var addresses []string
	if len(alive) == 0 || c.Waiting() != "" {
		addresses = append(addresses, c.config.Join...)
	}
	missing := false
	for id, e := range c.book.all() {
		if i, ok := c.sights.get(id); id != c.self.ID && !(ok && i.alive) {
			missing = true
			addresses = append(addresses, e.Gossip)
		}
	}
	if missing && len(alive) > 0 && c.Waiting() == "" {
		addresses = append(addresses, c.config.Join...) // a node that has moved may be where its name leads
	}
	if len(addresses) == 0 {
		return
	}
	n, foreign, silent, err := c.gossip.join(addresses)
	if err != nil {
		c.log.Debug("not all known addresses answer", "answered", n, "of", len(addresses), "err", err)
	}
	c.silent.Store(&silent)
	foreign = slices.DeleteFunc(foreign, func(a string) bool { return !slices.Contains(c.config.Join, a) }) // where a member was once, anybody may be now
	c.foreign.Store(&foreign)
}
