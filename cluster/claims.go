package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// claimRequest asks for a claim, releases one, or asks the coordinator about one.
type claimRequest struct {
	Claim    claim `json:"claim"`
	Release  bool  `json:"release,omitempty"`  // the coordinator no longer wants the claim
	Question bool  `json:"question,omitempty"` // a member asks its coordinator what became of the claim
	Shards   int   `json:"shards,omitempty"`
	Replicas int   `json:"replicas,omitempty"`
}

// claimReply answers a claimRequest.
type claimReply struct {
	Refused string         `json:"refused,omitempty"` // completes a sentence that begins with the node's name
	Node    *topology.Node `json:"node,omitempty"`    // the member that has granted its claim
	Cluster string         `json:"cluster,omitempty"` // to which the node belongs
	Holds   bool           `json:"holds,omitempty"`   // the coordinator still wants the claim
}

const claimTimeout = 2 * time.Second // of one request

func (b *bootstrapper) callServer(server string, m Method, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(b.life.ctx, claimTimeout)
	defer cancel()
	return b.peers.callServer(ctx, server, m, payload)
}

func (b *bootstrapper) askClaim(server string, request claimRequest) (reply claimReply, err error) {
	payload, err := json.Marshal(request)
	if err != nil {
		return reply, err
	}
	answer, err := b.callServer(server, MethodClaim, payload)
	if err != nil {
		return reply, err
	}
	return reply, json.Unmarshal(answer, &reply)
}

// resolveClaim asks the coordinator what became of the claim that this node granted, and reports
// whether the claim still binds.
func (b *bootstrapper) resolveClaim() (bound bool, err error) {
	granted := b.identity.get().Claim
	if granted == nil {
		return false, nil
	}
	var reply claimReply
	if granted.Coordinator == b.self.ID { // this process ended while it was coordinator: no cluster was formed
		if granted.Store == b.self.Store {
			return false, b.release(*granted)
		}
	} else if reply, err = b.askClaim(serverID(granted.Coordinator, granted.Store), claimRequest{Claim: *granted, Question: true}); err != nil {
		b.readiness.await("%s, which holds this node's claim for a cluster of %d nodes: %v", b.peers.name(granted.Coordinator), len(granted.Members), err)
		return true, nil
	}
	formed := reply.Cluster == granted.Cluster && (b.membership.only == "" || reply.Holds) // all claims may be for the one id that certificates name
	switch {
	case formed:
		return true, b.membership.persist(granted.Cluster, nil)
	case reply.Holds:
		b.readiness.await("%s to bootstrap the cluster of %d nodes", b.peers.name(granted.Coordinator), len(granted.Members))
		return true, nil
	}
	bound = true
	err = b.identity.update(func(i *identity) bool {
		if i.Claim != granted { // another one was granted meanwhile
			return false
		}
		i.Claim, bound = nil, false
		return true
	})
	return bound, err
}

var errNotLoaded = errors.New("the node is starting and has not read its promises yet")

// answerClaim serves MethodClaim. The bus serves before Open has read the identity: an answer by an empty one would
// break a promise, or deny it.
func (b *bootstrapper) answerClaim(from Caller, payload []byte) ([]byte, error) {
	if !b.identity.isLoaded() {
		return nil, errNotLoaded
	}
	var request claimRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, fmt.Errorf("malformed claim request: %w", err)
	}
	var reply claimReply
	var err error
	switch {
	case request.Question:
		reply = b.answerQuestion(request.Claim)
	case !request.Release && len(b.duplicates.live()) > 0: // one of the two processes ends
		reply.Refused = "is running twice"
	default:
		err = b.identity.update(func(i *identity) (changed bool) {
			reply, changed = b.grant(i, from, request)
			return changed
		})
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

func (b *bootstrapper) answerQuestion(about claim) claimReply {
	i := b.identity.get()
	return claimReply{Cluster: i.Cluster, Holds: i.Claim != nil && i.Claim.equal(&about) && i.Claim.Round == about.Round}
}

// grant decides about a request under the identity's lock. The claim is on disk before the
// coordinator hears of it.
func (b *bootstrapper) grant(i *identity, from Caller, request claimRequest) (reply claimReply, changed bool) {
	wanted, held := request.Claim, i.Claim
	sameCoordinator := held != nil && held.Coordinator == wanted.Coordinator && held.Store == wanted.Store
	refuse := func(format string, args ...any) (claimReply, bool) {
		return claimReply{Refused: fmt.Sprintf(format, args...)}, false
	}
	switch {
	case wanted.Coordinator != from.Node || wanted.Store != from.Store:
		return refuse("was asked by a node other than the coordinator of the claim")
	case request.Release:
		if sameCoordinator && held.Round <= wanted.Round && i.Cluster == "" {
			i.Claim = nil
			return claimReply{}, true
		}
		return claimReply{}, false
	case i.Cluster != "":
		return claimReply{Refused: fmt.Sprintf("already belongs to cluster %s", i.Cluster), Cluster: i.Cluster}, false
	case b.config.HasData:
		return refuse("has arrays in its data folder")
	case len(wanted.Members) != b.config.BootstrapExpect:
		return refuse("was started with --bootstrap-expect %d, not %d", b.config.BootstrapExpect, len(wanted.Members))
	case request.Shards != b.config.Shards || request.Replicas != b.config.Replicas:
		return refuse("was started with --shards %d and --replicas %d, not %d and %d", b.config.Shards, b.config.Replicas, request.Shards, request.Replicas)
	case !slices.Contains(wanted.Members, b.self.server):
		return refuse("is not one of those nodes")
	case b.membership.allows(wanted.Cluster) != nil:
		return refuse("has a certificate for cluster %s, not for cluster %s", b.membership.only, wanted.Cluster)
	case held != nil && !sameCoordinator:
		return refuse("has granted its claim to %s", b.peers.name(held.Coordinator))
	case sameCoordinator && wanted.Round < held.Round:
		return refuse("has granted a later claim")
	}
	i.Claim = &wanted
	row := b.self.row()
	return claimReply{Node: &row}, true
}
