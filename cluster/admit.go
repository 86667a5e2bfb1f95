package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// admitter answers requests to join: the leader admits, other members forward the request to it.
type admitter struct {
	life      *lifetime
	self      *localNode
	peers     *peers
	fsm       *fsm
	consensus *consensusRef
	removed   func(topology.NodeID) bool // Config.Removed
}

// answer serves MethodJoin. A node asks only for itself; only members forward the request of
// another node.
func (d *admitter) answer(ctx context.Context, from Caller, payload []byte) ([]byte, error) {
	var request joinRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, fmt.Errorf("malformed join request: %w", err)
	}
	if request.Forwarded && from.Cluster == "" {
		return nil, fmt.Errorf("node %s belongs to no cluster and forwards the request of another node, %s", from.Node, request.Node.ID)
	}
	if !request.Forwarded && (request.Node.ID != from.Node || request.Node.Store != from.Store) {
		return nil, fmt.Errorf("node %s asks to admit another node, %s", from.Node, request.Node.ID)
	}
	a := d.consensus.Load()
	if a == nil {
		return nil, ErrNoCluster
	}
	leader := a.leader()
	if leader == d.self.ID {
		reply, err := d.admit(a, request)
		if err != nil {
			return nil, err
		}
		return json.Marshal(reply)
	}
	if leader == "" || request.Forwarded {
		return nil, ErrNoLeader
	}
	request.Forwarded = true
	payload, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return d.peers.call(ctx, leader, MethodJoin, payload)
}

// admit makes a node, or a new incarnation of one, a member of the topology and a server of raft.
// This node leads.
func (d *admitter) admit(a *consensus, request joinRequest) (reply joinReply, err error) {
	t, node := d.fsm.current.Load(), request.Node
	id := serverID(node.ID, node.Store)
	if _, _, err := parseServerID(id); err != nil {
		return reply, err
	}
	if t.Cluster == "" {
		return reply, ErrNoCluster
	}
	if reply.Refused, err = d.refusal(t, request); err != nil || reply.Refused != "" {
		return reply, err
	}
	known := false
	if old, member := t.Node(node.ID); member {
		node.State = old.State
		if t.Format < topology.Format2 { // it keeps no weights
			node.Weight = 0
		}
		known = node.Equal(old)
	}
	if !known { // a member that hears from no leader asks every few seconds, which must not fill the log
		if err := d.join(a, node, request); err != nil {
			return reply, err
		}
	}
	future := a.GetConfiguration()
	if err := future.Error(); err != nil {
		return reply, err
	}
	if !hasServer(future.Configuration(), id) { // only now, since the controller removes servers of nodes that are no members
		if err := a.awaitChange(a.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, applyTimeout)); err != nil {
			return reply, err
		}
	}
	reply.Cluster = t.Cluster
	return reply, nil
}

// refusal returns why a node cannot be admitted: final if refused is not empty, else until it restarts.
func (d *admitter) refusal(t *topology.Topology, request joinRequest) (refused string, err error) {
	node := request.Node
	if request.Shards != len(t.Shards) {
		return fmt.Sprintf("it has %d shards, but the node was started with --shards %d", len(t.Shards), request.Shards), nil
	}
	if knows := max(request.Format, topology.Format1); knows < t.Format { // it would end as soon as it has read raft's log
		return fmt.Sprintf("the topology has format %d, and the node's program knows those up to %d: a newer ndring is needed", t.Format, knows), nil
	}
	if d.removed != nil && d.removed(node.ID) {
		return "", fmt.Errorf("node %s was removed from the cluster, which revokes its certificate: to let it come back, ndctl config set readmit %s --cluster",
			topology.Label(node.Name, node.ID), node.ID)
	}
	if last, forgotten := t.Forgotten[node.ID]; forgotten && node.Incarnation <= last {
		return "", fmt.Errorf("node %s was forgotten and has not been restarted since", topology.Label(node.Name, node.ID))
	}
	old, member := t.Node(node.ID)
	switch {
	case member && old.Incarnation > node.Incarnation:
		return fmt.Sprintf("a later incarnation of node %s is known: its clock went back, or two nodes share that id", topology.Label(node.Name, node.ID)), nil
	case member && old.Incarnation < node.Incarnation && d.peers.runs(d.life.ctx, old):
		return fmt.Sprintf(duplicateText, topology.Label(node.Name, node.ID), busAddress(old)), nil
	}
	return "", nil
}

// join makes a node a member of the topology.
func (d *admitter) join(a *consensus, node topology.Node, request joinRequest) error {
	result, err := a.commitOps(topology.Op{
		Kind: topology.NodeJoin, Nodes: []topology.Node{node}, Stores: request.FormerStores,
		Starts: request.Start.Starts, Unclean: request.Start.Unclean, Lossy: request.Start.Lossy, SameLock: request.Start.SameLock,
	})
	if err != nil {
		return err
	}
	if result.Errs[0] != "" {
		return fmt.Errorf("the topology refuses the node: %s", result.Errs[0])
	}
	return nil
}

func hasServer(config raft.Configuration, id string) bool {
	for _, s := range config.Servers {
		if string(s.ID) == id {
			return true
		}
	}
	return false
}
