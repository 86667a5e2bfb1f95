package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// joinRequest is a node that wants in, or that was started anew.
type joinRequest struct {
	Node   topology.Node `json:"node"`
	Was    []string      `json:"was,omitempty"`    // stores that its data folder was before: its copies are those
	Shards int           `json:"shards"`           // that it was started with
	Passed bool          `json:"passed,omitempty"` // another node has passed it on
}

type joinReply struct {
	Cluster string `json:"cluster,omitempty"`
	Refused string `json:"refused,omitempty"` // for good
}

// refusedError is a refusal for good.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

const joinTime = 5 * time.Second // for an answer

// askIn asks the nodes of a cluster to be let in.
func (c *Cluster) askIn(cluster string, nodes []instance) error {
	c.await("cluster %s to let it in", cluster)
	for _, n := range nodes {
		reply, err := c.askJoin(n.node)
		switch {
		case err != nil:
			c.await("cluster %s to let it in: %s: %v", cluster, c.name(n.node), err)
			continue
		case reply.Refused != "":
			return &refusedError{fmt.Sprintf("cluster %s does not let this node in: %s", cluster, reply.Refused)}
		}
		return c.belong(reply.Cluster, nil)
	}
	return nil
}

// askAround asks the members that are to be seen, one at a time, to let this start of the node in: its own log may not say who leads, because it was forgotten.
func (c *Cluster) askAround(turn int) (err error) {
	var members []instance
	for _, i := range c.sights.alive() {
		if i.cluster == c.ID() {
			members = append(members, i)
		}
	}
	if len(members) == 0 {
		return nil
	}
	reply, err := c.askJoin(members[turn%len(members)].node)
	if err == nil && reply.Refused != "" {
		return refusedStart(reply.Refused)
	}
	return err
}

func refusedStart(why string) error {
	return &refusedError{fmt.Sprintf("the cluster does not let this start of the node in: %s", why)}
}

// joinAgain tells the leader that this node was started anew.
func (c *Cluster) joinAgain(leader topology.NodeID) error {
	var reply joinReply
	var err error
	if leader == c.self.ID {
		reply, err = c.admit(c.agreement.Load(), c.joinRequest())
	} else {
		reply, err = c.askJoin(leader)
	}
	if err == nil && reply.Refused != "" {
		err = refusedStart(reply.Refused)
	}
	return err
}

func (c *Cluster) joinRequest() joinRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return joinRequest{Node: *c.row.Load(), Was: c.identity.Was, Shards: c.config.Shards}
}

func (c *Cluster) askJoin(node topology.NodeID) (reply joinReply, err error) {
	payload, err := json.Marshal(c.joinRequest())
	if err != nil {
		return reply, err
	}
	ctx, cancel := context.WithTimeout(c.context, joinTime)
	defer cancel()
	b, err := c.ask(ctx, node, MethodJoin, payload)
	if err != nil {
		return reply, err
	}
	return reply, json.Unmarshal(b, &reply)
}

// answerJoin serves MethodJoin: the leader admits, others pass on.
func (c *Cluster) answerJoin(ctx context.Context, from Caller, payload []byte) ([]byte, error) {
	var request joinRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, fmt.Errorf("no request to join: %w", err)
	}
	if request.Passed && from.Cluster == "" { // only members pass on
		return nil, fmt.Errorf("node %s, which is of no cluster, passes on the request of another one, %s", from.Node, request.Node.ID)
	}
	if !request.Passed && (request.Node.ID != from.Node || request.Node.Store != from.Store) {
		return nil, fmt.Errorf("node %s asks for another one, %s", from.Node, request.Node.ID)
	}
	a := c.agreement.Load()
	if a == nil {
		return nil, ErrNoCluster
	}
	leader := a.leader()
	if leader == c.self.ID {
		reply, err := c.admit(a, request)
		if err != nil {
			return nil, err
		}
		return json.Marshal(reply)
	}
	if leader == "" || request.Passed {
		return nil, ErrNoLeader
	}
	request.Passed = true
	payload, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return c.ask(ctx, leader, MethodJoin, payload)
}

// admit lets a node in, or a new start of one. This node leads.
func (c *Cluster) admit(a *agreement, request joinRequest) (reply joinReply, err error) {
	t, node := c.Topology(), request.Node
	id := serverID(node.ID, node.Store)
	if _, _, err := parseServerID(id); err != nil {
		return reply, err
	}
	if t.Cluster == "" {
		return reply, ErrNoCluster
	}
	if request.Shards != len(t.Shards) {
		reply.Refused = fmt.Sprintf("it has %d shards, the node was started with --shards %d", len(t.Shards), request.Shards)
		return reply, nil
	}
	if last, forgotten := t.Forgotten[node.ID]; forgotten && node.Incarnation <= last {
		return reply, fmt.Errorf("node %s was forgotten, and has not been started since", label(node.Name, node.ID))
	}
	there := false
	if old, known := t.Node(node.ID); known {
		node.State = old.State
		there = node.Equal(old)
		switch {
		case old.Incarnation > node.Incarnation:
			reply.Refused = fmt.Sprintf("a later start of node %s is known: its clock went back, or there are two of that id", label(node.Name, node.ID))
			return reply, nil
		case old.Incarnation < node.Incarnation && c.lives(old):
			reply.Refused = fmt.Sprintf("a node with the id of this one, %s, runs already, at %s: each needs a --node-id and a --dir of its own", label(node.Name, node.ID), c.busOf(old))
			return reply, nil
		}
	}
	if !there { // a node that hears of no leader asks again and again: nothing to write down each time
		d, err := a.decideOps(topology.Op{Kind: topology.NodeJoin, Nodes: []topology.Node{node}, Stores: request.Was})
		if err != nil {
			return reply, err
		}
		if d.Errs[0] != "" {
			return reply, fmt.Errorf("the topology does not take the node: %s", d.Errs[0])
		}
	}
	future := a.GetConfiguration()
	if err := future.Error(); err != nil {
		return reply, err
	}
	if !hasServer(future.Configuration(), id) { // not before, since servers of no member are taken out
		if err := a.settled(a.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, applyTimeout)); err != nil {
			return reply, err
		}
	}
	reply.Cluster = t.Cluster
	return reply, nil
}

func hasServer(config raft.Configuration, id string) bool {
	for _, s := range config.Servers {
		if string(s.ID) == id {
			return true
		}
	}
	return false
}

// lives asks a node's old address whether the start of it that the topology knows is still there.
func (c *Cluster) lives(old topology.Node) bool {
	ctx, cancel := context.WithTimeout(c.context, time.Second)
	defer cancel()
	who, err := c.bus.Probe(ctx, c.busOf(old))
	return err == nil && who.Node == old.ID && who.Incarnation == old.Incarnation
}

// busOf returns where the start of a node that the topology knows was reached.
func (c *Cluster) busOf(old topology.Node) string {
	return net.JoinHostPort(old.BusHost, strconv.Itoa(old.BusPort))
}
