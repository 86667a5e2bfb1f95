package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// joinRequest asks to admit a node, or a new incarnation of one.
type joinRequest struct {
	Node         topology.Node `json:"node"`
	FormerStores []string      `json:"was,omitempty"`    // earlier stores of the data folder: its copies are known under these
	Start        Start         `json:"start,omitzero"`   // what the data folder says about this start
	Shards       int           `json:"shards"`           // with which the node was started
	Format       int           `json:"format,omitempty"` // the latest format of a topology that the program knows; 0, of earlier programs, stands for topology.Format1
	Forwarded    bool          `json:"passed,omitempty"` // by a member that does not lead
}

type joinReply struct {
	Cluster string `json:"cluster,omitempty"`
	Refused string `json:"refused,omitempty"` // final
}

// rejectedError is a final refusal to admit the node.
type rejectedError struct{ text string }

func (e *rejectedError) Error() string { return e.text }

const joinTimeout = 5 * time.Second // of one request

// joiner asks members of a cluster to admit this incarnation of the node.
type joiner struct {
	life   *lifetime
	self   *localNode
	shards int

	identity   *identityStore
	membership *membership
	members    *members
	peers      *peers
	readiness  *readiness
	admitter   *admitter // for the case that this node leads
}

// requestJoin asks the nodes of a cluster, one after the other, to admit this node.
func (j *joiner) requestJoin(cluster string, nodes []incarnation) error {
	j.readiness.await("cluster %s to admit it", cluster)
	for _, n := range nodes {
		reply, err := j.ask(n.node)
		switch {
		case err != nil:
			j.readiness.await("cluster %s to admit it: %s: %v", cluster, j.peers.name(n.node), err)
			continue
		case reply.Refused != "":
			return &rejectedError{fmt.Sprintf("cluster %s rejects this node: %s", cluster, reply.Refused)}
		}
		return j.membership.persist(reply.Cluster, nil)
	}
	return nil
}

// findLeader asks one of the members that gossip sees, another one at each attempt, to have this
// incarnation admitted. A node that was forgotten, or was away for long, does not learn from its
// own log who leads.
func (j *joiner) findLeader(cluster string, attempt int) error {
	var members []incarnation
	for _, i := range j.members.alive() {
		if i.cluster == cluster {
			members = append(members, i)
		}
	}
	if len(members) == 0 {
		return nil
	}
	reply, err := j.ask(members[attempt%len(members)].node)
	return orRejected(reply, err)
}

// announceTo asks the leader to admit this incarnation of the node.
func (j *joiner) announceTo(a *consensus, leader topology.NodeID) error {
	if leader == j.self.ID {
		reply, err := j.admitter.admit(a, j.request())
		return orRejected(reply, err)
	}
	reply, err := j.ask(leader)
	return orRejected(reply, err)
}

func orRejected(reply joinReply, err error) error {
	if err == nil && reply.Refused != "" {
		return &rejectedError{fmt.Sprintf("the cluster rejects this incarnation of the node: %s", reply.Refused)}
	}
	return err
}

func (j *joiner) request() joinRequest {
	return joinRequest{Node: j.self.row(), FormerStores: j.identity.get().FormerStores, Start: j.self.start, Shards: j.shards, Format: topology.LatestFormat}
}

func (j *joiner) ask(node topology.NodeID) (reply joinReply, err error) {
	payload, err := json.Marshal(j.request())
	if err != nil {
		return reply, err
	}
	ctx, cancel := context.WithTimeout(j.life.ctx, joinTimeout)
	defer cancel()
	answer, err := j.peers.call(ctx, node, MethodJoin, payload)
	if err != nil {
		return reply, err
	}
	return reply, json.Unmarshal(answer, &reply)
}
