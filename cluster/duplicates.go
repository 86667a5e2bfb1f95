package cluster

import (
	"fmt"
	"log/slog"
)

// duplicates finds other live incarnations of this node: two processes with one node id.
type duplicates struct {
	life    *lifetime
	log     *slog.Logger
	self    *localNode
	members *members
	peers   *peers

	reported uint64 // incarnation of the later duplicate that was logged; only startup uses it
}

// check returns an error if an earlier incarnation of this node still runs. A later one is logged:
// that one has to end.
func (d *duplicates) check() error {
	for _, other := range d.live() {
		if other.incarnation < d.self.Incarnation {
			return duplicateError(d.self.label(), other.bus)
		}
		if d.reported != other.incarnation {
			d.reported = other.incarnation
			d.log.Error("another process has started with this node's id", "node", d.self.label(), "address", other.bus)
		}
	}
	return nil
}

const duplicateText = "another process with the id of this node, %s, is running at %s: give each node its own --node-id and --dir"

func duplicateError(node, address string) error { return fmt.Errorf(duplicateText, node, address) }

// live probes the duplicates that gossip has heard of and returns those that answer.
func (d *duplicates) live() (live []incarnation) {
	for _, i := range d.members.listDuplicates() {
		caller, err := d.peers.probe(d.life.ctx, i.bus, probeTimeout)
		// Otherwise it is gone, or another node has its address: gossip has not noticed yet.
		if err == nil && caller.Node == d.self.ID && caller.Incarnation != d.self.Incarnation {
			i.incarnation = caller.Incarnation
			live = append(live, i)
		}
	}
	return live
}
