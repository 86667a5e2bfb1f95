package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
)

// claimRequest is what an asker sends to the members of its set.
type claimRequest struct {
	Claim    claim `json:"claim"`
	Release  bool  `json:"release,omitempty"`  // the claim is given back
	Question bool  `json:"question,omitempty"` // from a member to its asker: what has become of the claim?
	Shards   int   `json:"shards,omitempty"`
	Replicas int   `json:"replicas,omitempty"`
}

// claimReply answers it.
type claimReply struct {
	Refused string         `json:"refused,omitempty"`
	Node    *topology.Node `json:"node,omitempty"`    // of a member that has given its claim
	Cluster string         `json:"cluster,omitempty"` // that it is of
	Holds   bool           `json:"holds,omitempty"`   // of an asker: it still wants the claim
}

const claimTime = 2 * time.Second // for an answer

// makeTogether waits for enough nodes, and asks them for their claims if that is this node's part.
func (c *Cluster) makeTogether() error {
	all := []string{c.local}
	names := []string{label(c.self.Name, c.self.ID)}
	others := 0
	var twice []string // of two nodes with one id the later one ends, and it is not known which one that is
	for _, i := range c.sights.alive() {
		switch {
		case int(i.expect) != min(c.config.BootstrapExpect, 255) || i.hasData:
			others++
		case i.twice:
			twice = append(twice, label(i.name, i.node))
		default:
			all = append(all, serverID(i.node, i.store))
			names = append(names, label(i.name, i.node))
		}
	}
	if len(all) < c.config.BootstrapExpect {
		text := fmt.Sprintf("%d nodes to make a cluster, and sees %d: %s", c.config.BootstrapExpect, len(all), strings.Join(names, ", "))
		if others > 0 {
			text += fmt.Sprintf("; %d more were not started with --bootstrap-expect %d, or have arrays", others, c.config.BootstrapExpect)
		}
		if len(twice) > 0 {
			text += "; there twice, or just started anew: " + strings.Join(twice, ", ")
		}
		if silent := c.silent.Load(); silent != nil && len(*silent) > 0 {
			text += "; nobody answers at " + strings.Join(*silent, ", ")
		}
		c.await("%s", text)
		return nil
	}
	slices.Sort(all)
	members := all[:c.config.BootstrapExpect]
	if asker, _, _ := parseServerID(members[0]); asker != c.self.ID {
		c.await("%s to make the cluster of %d nodes", c.name(asker), c.config.BootstrapExpect)
		return nil
	}
	if time.Now().Before(c.askAgain) {
		return nil
	}
	c.askAgain = time.Now().Add(c.timing.Tick + rand.N(4*c.timing.Tick)) // if it fails: whoever stands in the way needs time to get out of it
	return c.collect(members)
}

// collect asks all members for their claims, and makes the cluster or gives the claims back.
func (c *Cluster) collect(members []string) error {
	c.await("the claims of %d nodes", len(members))
	c.mu.Lock()
	c.identity.Round++
	own := claim{Asker: c.self.ID, Store: c.self.Store, Round: c.identity.Round, Cluster: uuid.New().String(), Members: members}
	c.identity.Claim = &own
	err := c.identity.save(c.files)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	nodes := make([]topology.Node, len(members))
	failures := make([]string, len(members))
	var others atomic.Pointer[instance] // a member that is of a cluster, which gossip has not told yet
	var wait sync.WaitGroup
	for i, member := range members {
		if member == c.local {
			nodes[i] = *c.row.Load()
			continue
		}
		wait.Go(func() {
			reply, err := c.askClaim(member, claimRequest{Claim: own, Shards: c.config.Shards, Replicas: c.config.Replicas})
			node, _, _ := parseServerID(member)
			switch {
			case err != nil:
				failures[i] = fmt.Sprintf("%s does not answer: %v", c.name(node), err)
			case reply.Refused != "" || reply.Node == nil:
				if reply.Cluster != "" {
					others.Store(&instance{meta: meta{node: node, cluster: reply.Cluster}})
				}
				failures[i] = fmt.Sprintf("%s %s", c.name(node), reply.Refused)
			default:
				nodes[i] = *reply.Node
			}
		})
	}
	wait.Wait()
	failures = slices.DeleteFunc(failures, func(s string) bool { return s == "" })
	if len(failures) > 0 {
		c.await("the claims of %d nodes: %s", len(members), strings.Join(failures, "; "))
		c.log.Debug("the cluster is not made yet", "why", strings.Join(failures, "; "))
		if err := c.giveUp(own); err != nil {
			return err
		}
		if i := others.Load(); i != nil {
			return c.askIn(i.cluster, []instance{*i})
		}
		return nil
	}
	m := &made{Nodes: nodes, Epoch: c.config.FirstEpoch}
	voters := topology.VotersWanted(len(members))
	for i, member := range members {
		m.Servers = append(m.Servers, server{ID: member, Voter: i < voters})
	}
	for _, n := range nodes { // versions are higher than any that a member's folder may know of
		m.Epoch = max(m.Epoch, n.Incarnation)
	}
	if err := c.belong(own.Cluster, m); err != nil {
		return err
	}
	c.log.Info("this node makes a cluster", "cluster", own.Cluster, "nodes", len(members), "voters", voters)
	for _, member := range members {
		if member != c.local {
			c.done.Go(func() { c.callServer(member, MethodFormed, nil) })
		}
	}
	return nil
}

// giveUp writes down that a claim is not wanted any more, and only then tells those who have given it.
func (c *Cluster) giveUp(own claim) error {
	c.mu.Lock()
	c.identity.Claim = nil
	err := c.identity.save(c.files)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	for _, member := range own.Members {
		if member != c.local {
			c.done.Go(func() { c.askClaim(member, claimRequest{Claim: own, Release: true}) }) // whoever does not hear it asks
		}
	}
	return nil
}

// callServer calls a member by its server id.
func (c *Cluster) callServer(member string, m Method, payload []byte) ([]byte, error) {
	node, store, err := parseServerID(member)
	if err != nil {
		return nil, err
	}
	to, err := c.target(node)
	if err != nil {
		return nil, err
	}
	to.Store = store
	ctx, cancel := context.WithTimeout(c.context, claimTime)
	defer cancel()
	return c.bus.Call(ctx, to, m, payload)
}

func (c *Cluster) askClaim(member string, request claimRequest) (reply claimReply, err error) {
	payload, err := json.Marshal(request)
	if err != nil {
		return reply, err
	}
	b, err := c.callServer(member, MethodClaim, payload)
	if err != nil {
		return reply, err
	}
	return reply, json.Unmarshal(b, &reply)
}

// heedClaim asks what has become of the claim that this node has given to another one, and reports whether it still binds.
func (c *Cluster) heedClaim() (binds bool, err error) {
	c.mu.Lock()
	given := c.identity.Claim
	c.mu.Unlock()
	if given == nil {
		return false, nil
	}
	var reply claimReply
	if given.Asker == c.self.ID { // the process ended while it asked: nothing came of it
		if given.Store == c.self.Store {
			return false, c.giveUp(*given)
		}
	} else if reply, err = c.askClaim(serverID(given.Asker, given.Store), claimRequest{Claim: *given, Question: true}); err != nil {
		c.await("%s, which has this node's claim to be part of a cluster of %d nodes: %v", c.name(given.Asker), len(given.Members), err)
		return true, nil
	}
	switch {
	case reply.Cluster == given.Cluster:
		return true, c.belong(given.Cluster, nil)
	case reply.Holds:
		c.await("%s to make the cluster of %d nodes", c.name(given.Asker), len(given.Members))
		return true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.identity.Claim == given {
		c.identity.Claim = nil
		return false, c.identity.save(c.files)
	}
	return true, nil
}

// answerClaim serves MethodClaim.
func (c *Cluster) answerClaim(from Caller, payload []byte) ([]byte, error) {
	var request claimRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, fmt.Errorf("no claim: %w", err)
	}
	var reply claimReply
	var err error
	switch {
	case request.Question:
		reply = c.answerQuestion(request.Claim)
	case !request.Release && len(c.liveTwins()) > 0: // one of them ends
		reply.Refused = "runs twice"
	default:
		reply, err = c.giveClaim(from, request)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

func (c *Cluster) answerQuestion(about claim) claimReply {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.identity.Claim
	return claimReply{Cluster: c.identity.Cluster, Holds: own != nil && own.same(&about) && own.Round == about.Round}
}

// giveClaim writes down the claim before it is answered.
func (c *Cluster) giveClaim(from Caller, request claimRequest) (claimReply, error) {
	wanted := request.Claim
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.identity.Claim
	ofAsker := held != nil && held.Asker == wanted.Asker && held.Store == wanted.Store
	refuse := func(format string, args ...any) (claimReply, error) {
		return claimReply{Refused: fmt.Sprintf(format, args...)}, nil
	}
	switch {
	case wanted.Asker != from.Node || wanted.Store != from.Store:
		return refuse("is asked by another node than the one that wants its claim")
	case request.Release:
		if ofAsker && held.Round <= wanted.Round && c.identity.Cluster == "" {
			c.identity.Claim = nil
			return claimReply{}, c.identity.save(c.files)
		}
		return claimReply{}, nil
	case c.identity.Cluster != "":
		return claimReply{Refused: fmt.Sprintf("is of cluster %s already", c.identity.Cluster), Cluster: c.identity.Cluster}, nil
	case c.config.HasData:
		return refuse("has arrays in its data folder")
	case len(wanted.Members) != c.config.BootstrapExpect:
		return refuse("was started with --bootstrap-expect %d, not %d", c.config.BootstrapExpect, len(wanted.Members))
	case request.Shards != c.config.Shards || request.Replicas != c.config.Replicas:
		return refuse("was started with --shards %d and --replicas %d, not %d and %d", c.config.Shards, c.config.Replicas, request.Shards, request.Replicas)
	case !slices.Contains(wanted.Members, c.local):
		return refuse("is not one of those nodes")
	case held != nil && !ofAsker:
		return refuse("has given its claim to %s", c.name(held.Asker))
	case ofAsker && wanted.Round < held.Round:
		return refuse("has given a later claim")
	}
	c.identity.Claim = &wanted
	if err := c.identity.save(c.files); err != nil {
		return claimReply{}, err
	}
	return claimReply{Node: c.row.Load()}, nil
}
