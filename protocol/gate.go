package protocol

import (
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// How long a command waits while the topology assigns its shard to this node and the shard is closed, and
// how often it checks the topology meanwhile.
const (
	gateWait = time.Second
	gateStep = 5 * time.Millisecond
)

// shardRef is a shard that this node serves, by the topology since an epoch. A later epoch in which only the
// ISR is another changes nothing for clients.
//
// With fresh it is a copy of another node's shard that had all that was committed at that time, by Store.Monotonic.
type shardRef struct {
	shard *shard.Shard
	since uint64
	fresh int64
}

// acquire reports whether the shard serves in the leader epoch of the topology. Then the caller must release
// it.
func (p shardRef) acquire() bool {
	if !p.shard.Acquire() {
		return false
	}
	if p.shard.LeaderEpoch() != p.since {
		p.shard.Release()
		return false
	}
	return true
}

// locate returns the shard of a slot if this node serves it, and otherwise the error that redirects the
// client.
func (r *router) locate(from *origin, slot int) (shardRef, error) {
	topo, self := r.cluster.Topology(), r.cluster.Self()
	if !serves(topo, self, slot) {
		return shardRef{}, r.redirectFor(from, topo, slot)
	}
	id := topo.ShardOf(slot)
	row := &topo.Shards[id]
	found := r.store.Shard(int(id))
	if !found.Ready() {
		return shardRef{}, ErrLoading
	}
	return shardRef{shard: found, since: row.PrimarySince()}, nil
}

// enter acquires the shard of a slot, or returns the error that redirects the client. The caller must
// hold no shard, and release this one.
func (c *conn) enter(slot int) (*shard.Shard, error) {
	p, err := c.server.router.locate(&c.origin, slot)
	if err != nil || p.acquire() {
		c.routed(err)
		return p.shard, err
	}
	s, err := c.waitForShard(slot)
	c.routed(err)
	return s, err
}

// waitForShard is enter for a shard that is closed, or open in another leader epoch than the topology's: it is
// being handed over, or the shards of this node lag behind its topology or lead it.
func (c *conn) waitForShard(slot int) (*shard.Shard, error) {
	if err := c.flush(); err != nil { // earlier replies need not wait
		return nil, err
	}
	deadline := time.Now().Add(time.Duration(c.server.gateWait.Load()))
	defer func() { c.now = time.Time{} }()
	for {
		p, err := c.server.router.locate(&c.origin, slot)
		if err != nil {
			return nil, err
		}
		opened := p.shard.Role().WhenOpen() // before the attempt, so that no opening is missed
		if p.acquire() {
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
		case <-c.server.connections.closed:
			err = ErrTryAgain
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// slotOf returns the slot of all keys, or noSlot if there are none.
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
