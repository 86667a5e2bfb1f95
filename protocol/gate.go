package protocol

import (
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// How long a command waits when the topology gives its shard to this node and the gate is closed, and how often it looks at the topology meanwhile.
const (
	gateWait = time.Second
	gateStep = 5 * time.Millisecond
)

// place is a shard that this node serves, as the topology has it.
type place struct {
	shard *shard.Shard
	epoch uint64
}

// enter reports whether the shard serves in the epoch that the topology says; then the caller is inside, and must leave.
func (p place) enter() bool {
	if !p.shard.Acquire() {
		return false
	}
	if p.shard.Epoch() != p.epoch {
		p.shard.Release()
		return false
	}
	return true
}

// locate returns the place of a slot if this node serves it, and otherwise the error that sends the client on.
func (s *Server) locate(c *conn, slot int) (place, error) {
	topo, self := s.cluster.Topology(), s.cluster.Self()
	if !serves(topo, self, slot) {
		return place{}, s.moved(c, topo, slot)
	}
	id := topo.ShardOf(slot)
	row := &topo.Shards[id]
	found := s.store.Shard(int(id))
	if !found.Ready() {
		return place{}, ErrLoading
	}
	return place{found, row.Epoch}, nil
}

// enter enters the shard of a slot, or returns the error that sends the client on. The caller holds no shard, and must Leave this one.
func (s *Server) enter(c *conn, slot int) (*shard.Shard, error) {
	p, err := s.locate(c, slot)
	if err != nil || p.enter() {
		return p.shard, err
	}
	return s.waitForGate(c, slot)
}

// waitForGate is enter for who has found the gate closed, or open in another epoch than the topology's: the shard is being handed over and nobody
// knows yet to whom it belongs, or this node's shards and topology are not of one moment.
func (s *Server) waitForGate(c *conn, slot int) (*shard.Shard, error) {
	if err := c.flush(); err != nil { // what was answered before need not wait
		return nil, err
	}
	deadline := time.Now().Add(time.Duration(s.gateWait.Load()))
	defer func() { c.now = time.Time{} }()
	for {
		p, err := s.locate(c, slot)
		if err != nil {
			return nil, err
		}
		opened := p.shard.WhenOpen() // before the attempt, so that nothing is missed
		if p.enter() {
			return p.shard, nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, ErrTryAgain
		}
		timer := time.NewTimer(min(left, gateStep))
		select {
		case <-opened:
		case <-timer.C:
		case <-s.closed:
			err = ErrTryAgain
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// executeInside does a command on keys within the gate of their shard.
func (s *Server) executeInside(c *call) {
	inside := c.place.shard
	if !c.place.enter() {
		var err error
		if inside, err = s.enter(c.conn, c.slot); err != nil {
			c.reject(c.row, err)
			return
		}
	}
	defer inside.Release() // after a panic, too
	c.shard = inside
	s.execute(c)
}

// slotOf returns the one slot of all keys; noSlot if there is no key.
func slotOf(keys [][]byte) (int, error) {
	slot := noSlot
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return noSlot, err
		}
		switch of := topology.Slot(key); slot {
		case noSlot:
			slot = of
		case of:
		default:
			return noSlot, ErrCrossSlot
		}
	}
	return slot, nil
}
