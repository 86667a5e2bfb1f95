package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/outcome"
)

var (
	// ErrNoCluster is returned by a node that is not part of a cluster yet.
	ErrNoCluster = errors.New("the node is not part of a cluster yet")
	// ErrNoLeader is returned when nobody leads, so that nothing can be decided.
	ErrNoLeader = errors.New("the cluster has no leader: a majority of its voters is missing")
	// ErrUncertain is returned when the cluster may have decided a proposal, or may still do so.
	ErrUncertain = outcome.ErrUncertain
)

const (
	applyTimeout   = 2 * time.Second // for a place in the leader's queue
	proposeTimeout = 5 * time.Second // for the whole of a proposal, if the caller gives no end
)

// decision is what a proposal came to.
type decision struct {
	Index uint64   `json:"index"`          // of the log
	Errs  []string `json:"errs,omitempty"` // by operation; empty for what was done
}

// Propose has a command decided, wherever the leader is, and returns when this node's topology has it. There is an error for each operation, nil
// for those that were done. The last error is ErrUncertain when it may yet be decided; after any other one it is not.
func (c *Cluster) Propose(ctx context.Context, command topology.Command) ([]error, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	c.proposals.proposed.Add(1)
	encoded, err := command.Encode()
	if err != nil {
		return nil, err
	}
	d, err := c.propose(ctx, encoded)
	if err != nil {
		c.proposals.failed.Add(1)
		return nil, err
	}
	if err := c.caughtUp(ctx, d.Index); err != nil {
		return nil, err
	}
	errs := make([]error, len(command.Ops))
	for i, text := range d.Errs {
		if text != "" && i < len(errs) {
			errs[i] = errors.New(text)
		}
	}
	return errs, nil
}

func (c *Cluster) propose(ctx context.Context, command []byte) (d decision, err error) {
	a := c.agreement.Load()
	if a == nil {
		return d, ErrNoCluster
	}
	leader := a.leader()
	switch leader {
	case "":
		return d, ErrNoLeader
	case c.self.ID:
		return a.decide(command)
	}
	reply, err := c.ask(ctx, leader, MethodPropose, command)
	switch {
	case errors.Is(err, ErrNotSent):
		return d, fmt.Errorf("%s leads the cluster, and does not answer: %w", c.name(leader), err)
	case err != nil:
		return d, err
	}
	if err := json.Unmarshal(reply, &d); err != nil {
		return d, fmt.Errorf("%w: the leader's answer cannot be decoded: %w", ErrUncertain, err)
	}
	return d, nil
}

// ask calls another node. What is not known to have failed is ErrUncertain.
func (c *Cluster) ask(ctx context.Context, node topology.NodeID, m Method, payload []byte) ([]byte, error) {
	to, err := c.target(node)
	if err != nil {
		return nil, err
	}
	reply, err := c.bus.Call(ctx, to, m, payload)
	var answer *RemoteError
	switch {
	case err == nil:
		return reply, nil
	case errors.As(err, &answer) && strings.HasPrefix(answer.Text, ErrUncertain.Error()):
		return nil, fmt.Errorf("%w%s", ErrUncertain, strings.TrimPrefix(answer.Text, ErrUncertain.Error()))
	case errors.As(err, &answer), errors.Is(err, ErrNotSent):
		return nil, err
	default:
		return nil, fmt.Errorf("%w: %s: %w", ErrUncertain, c.name(node), err)
	}
}

// decideOps puts operations into the log. This node leads.
func (a *agreement) decideOps(ops ...topology.Op) (decision, error) {
	encoded, err := topology.Command{Ops: ops}.Encode()
	if err != nil {
		return decision{}, err
	}
	return a.decide(encoded)
}

// decide puts a command into the log. This node leads.
func (a *agreement) decide(command []byte) (d decision, err error) {
	future := a.Apply(command, applyTimeout)
	answered := make(chan error, 1)
	go func() { answered <- future.Error() }()
	timer := time.NewTimer(proposeTimeout)
	defer timer.Stop()
	select {
	case err = <-answered:
	case <-timer.C: // raft gives no answer as long as a write to its log hangs
		return d, fmt.Errorf("%w: the leader's log has not taken the change in %v", ErrUncertain, proposeTimeout)
	}
	if err := proposalError(err); err != nil {
		return d, err
	}
	o, ok := future.Response().(applied)
	if !ok {
		return d, fmt.Errorf("the topology answers %v", future.Response())
	}
	if o.err != nil {
		return d, o.err
	}
	d.Index, d.Errs = future.Index(), make([]string, len(o.errs))
	for i, err := range o.errs {
		if err != nil {
			d.Errs[i] = err.Error()
		}
	}
	return d, nil
}

// proposalError tells what an error of raft's means for a command: ErrNoLeader, when it did not come into the log, or ErrUncertain.
func proposalError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w (%w)", ErrNoLeader, err)
	default: // it was leader when it began
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
}

// answerProposal serves MethodPropose.
func (c *Cluster) answerProposal(payload []byte) ([]byte, error) {
	a := c.agreement.Load()
	if a == nil {
		return nil, ErrNoCluster
	}
	d, err := a.decide(payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

// caughtUp waits until this node has what was decided up to an index.
func (c *Cluster) caughtUp(ctx context.Context, index uint64) error {
	if c.Topology().Index >= index {
		return nil
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.Topology().Index < index {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the leader has decided, but this node has not received the decision: %w", ErrUncertain, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}
