package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/outcome"
)

var (
	// ErrNoCluster is returned when the node is not part of a cluster yet.
	ErrNoCluster = errors.New("the node is not part of a cluster yet")
	// ErrNoLeader is returned when no leader is known, so that nothing can be committed.
	ErrNoLeader = errors.New("the cluster has no leader: a majority of its voters is missing")
	// ErrUncertain is returned when a proposal may have been committed, or may be committed later.
	ErrUncertain = outcome.ErrUncertain
)

const (
	applyTimeout   = 2 * time.Second // for a place in the leader's queue
	proposeTimeout = 5 * time.Second // for a whole proposal, unless the caller's deadline is earlier
)

// committed is the result of a proposal that is in the log.
type committed struct {
	Index uint64   `json:"index"`          // in the log
	Errs  []string `json:"errs,omitempty"` // by operation; empty for one that was applied
}

// proposer gets commands committed, wherever the leader is.
type proposer struct {
	self      *localNode
	peers     *peers
	fsm       *fsm
	consensus *consensusRef

	toLeader, toLog *batcher // commands for the leader, and those that this node gets as the leader

	proposed, failed atomic.Int64 // totals since the start
}

func newProposer(self *localNode, peers *peers, f *fsm, c *consensusRef) *proposer {
	p := &proposer{self: self, peers: peers, fsm: f, consensus: c}
	p.toLeader, p.toLog = &batcher{send: p.askLeader}, &batcher{send: p.commitHere}
	return p
}

// Propose gets a command committed and returns when this node's topology has it, with an error for
// each operation, nil for those that were applied. If the last error is ErrUncertain, the command
// may have been committed or may be later; after any other error it was not and will not be.
func (c *Cluster) Propose(ctx context.Context, command topology.Command) ([]error, error) {
	return c.proposer.propose(ctx, command)
}

func (p *proposer) propose(ctx context.Context, command topology.Command) ([]error, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	p.proposed.Add(1)
	encoded, err := command.Encode()
	if err != nil {
		return nil, err
	}
	result, err := p.commit(ctx, encoded)
	if err != nil {
		p.failed.Add(1)
		return nil, err
	}
	if err := p.fsm.await(ctx, result.Index); err != nil {
		return nil, err
	}
	errs := make([]error, len(command.Ops))
	for i, text := range result.Errs {
		if text != "" && i < len(errs) {
			errs[i] = errors.New(text)
		}
	}
	return errs, nil
}

// proposeOne proposes a single operation and returns its error.
func (p *proposer) proposeOne(ctx context.Context, op topology.Op) error {
	errs, err := p.propose(ctx, topology.Command{Ops: []topology.Op{op}})
	if err == nil && len(errs) == 1 && errs[0] != nil {
		err = fmt.Errorf("refused: %w", errs[0])
	}
	return err
}

// commit sends an encoded command to the leader, or commits it if this node leads.
func (p *proposer) commit(ctx context.Context, command []byte) (committed, error) {
	if a := p.consensus.Load(); a != nil && a.leader() == p.self.ID {
		return p.toLog.commit(ctx, command)
	}
	return p.toLeader.commit(ctx, command)
}

// commitHere commits a command. This node leads.
func (p *proposer) commitHere(command []byte) (committed, error) {
	a := p.consensus.Load()
	if a == nil {
		return committed{}, ErrNoCluster
	}
	return a.commit(command)
}

// askLeader sends a command to the leader, or commits it if this node leads by now.
func (p *proposer) askLeader(command []byte) (result committed, err error) {
	a := p.consensus.Load()
	if a == nil {
		return result, ErrNoCluster
	}
	leader := a.leader()
	switch leader {
	case "":
		return result, ErrNoLeader
	case p.self.ID:
		return a.commit(command)
	}
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	reply, err := p.peers.call(ctx, leader, MethodPropose, command)
	switch {
	case errors.Is(err, ErrNotSent):
		return result, fmt.Errorf("%s leads the cluster but does not answer: %w", p.peers.name(leader), err)
	case err != nil:
		return result, err
	}
	if err := json.Unmarshal(reply, &result); err != nil {
		return result, fmt.Errorf("%w: the leader's answer cannot be decoded: %w", ErrUncertain, err)
	}
	return result, nil
}

// answer serves MethodPropose.
func (p *proposer) answer(ctx context.Context, command []byte) ([]byte, error) {
	result, err := p.toLog.commit(ctx, command)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// commitOps appends operations to the log. This node leads.
func (a *consensus) commitOps(ops ...topology.Op) (committed, error) {
	encoded, err := topology.Command{Ops: ops}.Encode()
	if err != nil {
		return committed{}, err
	}
	return a.commit(encoded)
}

// commit appends a command to the log and waits until it is applied. This node leads.
func (a *consensus) commit(command []byte) (result committed, err error) {
	future := a.Apply(command, applyTimeout)
	answered := make(chan error, 1)
	go func() { answered <- future.Error() }()
	timer := time.NewTimer(proposeTimeout)
	defer timer.Stop()
	select {
	case err = <-answered:
	case <-timer.C: // raft does not answer while a write to its log hangs
		return result, fmt.Errorf("%w: the leader's log has not taken the change in %v", ErrUncertain, proposeTimeout)
	}
	if err := proposalError(err); err != nil {
		return result, err
	}
	applied, ok := future.Response().(applied)
	if !ok {
		return result, fmt.Errorf("unexpected result of a command: %v", future.Response())
	}
	if applied.err != nil {
		return result, applied.err
	}
	result.Index, result.Errs = future.Index(), make([]string, len(applied.errs))
	for i, err := range applied.errs {
		if err != nil {
			result.Errs[i] = err.Error()
		}
	}
	a.spreader.decided()
	return result, nil
}

// appendBarrier appends a barrier to the log and waits for it, if there is another node to learn of it.
func (a *consensus) appendBarrier() {
	if future := a.GetConfiguration(); future.Error() == nil && len(future.Configuration().Servers) > 1 {
		_ = a.Barrier(applyTimeout).Error() // followers then learn a little later
	}
}

// proposalError translates an error of raft: ErrNoLeader if the command did not get into the log,
// else ErrUncertain.
func proposalError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w (%w)", ErrNoLeader, err)
	default: // this node led when it appended the command
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
}
