package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/ndring/ndring/cluster/topology"
)

// transferAnswer is the answer to MethodTransfer: why a shard was not handed over, for each that was asked for; empty if it was.
type transferAnswer struct {
	Refused []string `json:"refused"`
}

// Handovers is a node's part in giving shards away and getting them.
type Handovers struct{ c *Cluster }

// Handovers returns the node's part in handovers.
func (c *Cluster) Handovers() Handovers { return Handovers{c} }

// Transfer asks the primaries of shards to hand them over to this node. It returns when each has answered, with an error for
// each shard; nil says that the handover is proposed and the topology will soon show it.
func (h Handovers) Transfer(ctx context.Context, shards []topology.ShardID) []error {
	t := h.c.fsm.current.Load()
	errs := make([]error, len(shards))
	at := map[topology.NodeID][]int{} // positions in shards, by primary
	for i, id := range shards {
		if id < 0 || int(id) >= len(t.Shards) || t.Shards[id].Primary == "" {
			errs[i] = fmt.Errorf("shard %d has no primary", id)
			continue
		}
		at[t.Shards[id].Primary] = append(at[t.Shards[id].Primary], i)
	}
	var asked sync.WaitGroup
	for primary, list := range at {
		asked.Go(func() { h.ask(ctx, primary, shards, list, errs) })
	}
	asked.Wait()
	return errs
}

// ask asks one primary for some of the shards, and sets their errors.
func (h Handovers) ask(ctx context.Context, primary topology.NodeID, shards []topology.ShardID, list []int, errs []error) {
	var wanted []topology.ShardID
	for _, i := range list {
		wanted = append(wanted, shards[i])
	}
	answer := transferAnswer{}
	payload, err := json.Marshal(wanted)
	if err == nil {
		payload, err = h.c.peers.call(ctx, primary, MethodTransfer, payload)
	}
	if err == nil {
		err = json.Unmarshal(payload, &answer)
	}
	if err == nil && len(answer.Refused) != len(list) {
		err = fmt.Errorf("it answers for %d shards, not %d", len(answer.Refused), len(list))
	}
	for at, i := range list {
		switch {
		case err != nil:
			errs[i] = fmt.Errorf("%s, the primary of shard %d, does not hand it over: %w", h.c.peers.name(primary), shards[i], err)
		case answer.Refused[at] != "":
			errs[i] = errors.New(answer.Refused[at])
		}
	}
}

// answerTransfer serves MethodTransfer: the caller wants shards of which it has a copy.
func answerTransfer(ctx context.Context, host Host, from Caller, payload []byte) ([]byte, error) {
	var shards []topology.ShardID
	if err := json.Unmarshal(payload, &shards); err != nil {
		return nil, fmt.Errorf("malformed list of shards: %w", err)
	}
	if len(shards) > topology.MaxShards {
		return nil, fmt.Errorf("there are at most %d shards", topology.MaxShards)
	}
	answer := transferAnswer{Refused: make([]string, len(shards))}
	for i, err := range host.Transfer(ctx, from.Node, from.Incarnation, shards) {
		if err != nil {
			answer.Refused[i] = err.Error()
		}
	}
	return json.Marshal(answer)
}

// Takeover makes this node the primary of shards whose last primary, as an operator vouches, is off. Acknowledged writes that this
// node's copies lack are lost. It returns when that is decided, with an error for each shard, or with one for all.
func (h Handovers) Takeover(ctx context.Context, shards []topology.ShardID) ([]error, error) {
	c := h.c
	t := c.fsm.current.Load()
	if t.Cluster == "" {
		return nil, ErrNoCluster
	}
	ops := make([]topology.Op, 0, len(shards))
	for _, id := range shards {
		if id < 0 || int(id) >= len(t.Shards) {
			return nil, fmt.Errorf("%w: %d", topology.ErrUnknownShard, id)
		}
		ops = append(ops, topology.Op{
			Kind: topology.Promote, Shard: id, Epoch: t.Shards[id].Epoch, Node: c.self.ID, Incarnation: c.self.Incarnation,
			Members: []topology.NodeID{c.self.ID}, Unclean: true, Takeover: true,
		})
	}
	return c.proposer.propose(ctx, topology.Command{Ops: ops})
}
