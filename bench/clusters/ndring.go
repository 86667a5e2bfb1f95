package clusters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// NdringReplicates says whether a cluster of ndring must keep the copies that it was started with, and fail
// over. If it is false, the benchmarks report what is missing; otherwise they fail.
const NdringReplicates = true

// NdringOptions describes a cluster of ndring.
type NdringOptions struct {
	Binary   string
	Nodes    int
	Replicas int      // copies of each shard, the primary included
	Spare    int      // more nodes, which Join starts
	NoDisk   bool     // keep nothing on disk
	Extra    []string // more options of the program
}

// Ndring starts a cluster of ndring and returns once it serves all slots. The copies of the shards may
// come later: see WaitHealthy.
func Ndring(o NdringOptions) (*Cluster, error) {
	const portsEach = 3
	ports, err := freePorts((o.Nodes + o.Spare) * portsEach)
	if err != nil {
		return nil, err
	}
	nodes := make([]*Node, o.Nodes+o.Spare)
	var join []string
	for i := range nodes {
		nodes[i] = &Node{Name: fmt.Sprintf("n%d", i+1), Addr: loopback(ports[i*portsEach])}
		join = append(join, "--join", loopback(ports[i*portsEach+2]))
	}
	c, err := newCluster("ndring", "", nodes...)
	if err != nil {
		return nil, err
	}
	c.Set, c.Get, c.view = "NP.SET", "NP.GET", ndringView
	c.move = func(n *Node) error {
		_, err := n.ask("CLUSTER", "FAILOVER")
		return err
	}
	for i, n := range nodes {
		port := func(k int) string { return strconv.Itoa(ports[i*portsEach+k]) }
		dir := filepath.Join(c.dir, n.Name)
		if o.NoDisk {
			dir = ""
		}
		n.command = slices.Concat([]string{
			o.Binary, "--node-id", n.Name, "--bind", "127.0.0.1", "--port", port(0), "--bus-port", port(1), "--gossip-port", port(2), "--http-port", "0",
			"--dir", dir, "--replicas", strconv.Itoa(o.Replicas),
		}, join, o.Extra)
		if i < o.Nodes {
			n.command = append(n.command, "--bootstrap-expect", strconv.Itoa(o.Nodes))
		}
	}
	c.Nodes, c.spare = nodes[:o.Nodes:o.Nodes], nodes[o.Nodes:]
	if err = c.startAll(); err == nil {
		err = c.WaitHealthy(1, startLimit)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, c.Logs())
		c.Close()
		return nil, err
	}
	return c, nil
}

// Join starts a spare node, and returns once it serves. The nodes give it its share of the shards afterwards.
func (c *Cluster) Join(limit time.Duration) (*Node, error) {
	if len(c.spare) == 0 {
		return nil, errors.New("no spare node is left")
	}
	n := c.spare[0]
	if err := n.start(); err != nil {
		return nil, err
	}
	c.Nodes, c.spare = append(c.Nodes, n), c.spare[1:]
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return n, poll(ctx, func() error {
		_, err := c.view(n)
		return err
	})
}

// Leave makes a node hand on all that it has and leave. It returns at once, and the process goes on: the node only counts as one of All.
func (c *Cluster) Leave(n *Node) error {
	_, err := n.ask("CLUSTER", "LEAVE")
	if err == nil {
		c.Nodes, c.left = slices.DeleteFunc(slices.Clone(c.Nodes), func(other *Node) bool { return other == n }), append(c.left, n)
	}
	return err
}

// All returns the nodes, and the processes that run although they have left.
func (c *Cluster) All() []*Node { return slices.Concat(c.Nodes, c.left) }

// Sizes returns the bytes of each shard, as its primary says.
func (c *Cluster) Sizes() (map[int]int64, error) {
	sizes := map[int]int64{}
	for _, n := range c.Nodes {
		text, err := n.ask("CLUSTER", "LOAD")
		if err != nil {
			return nil, err
		}
		var load struct {
			Shards []struct {
				Shard int   `json:"shard"`
				Bytes int64 `json:"bytes"`
			} `json:"shards"`
		}
		if err := json.Unmarshal([]byte(text), &load); err != nil {
			return nil, err
		}
		for _, s := range load.Shards {
			sizes[s.Shard] = max(sizes[s.Shard], s.Bytes)
		}
	}
	return sizes, nil
}

// Operate sends a command to a node that answers OK.
func (n *Node) Operate(words ...string) error {
	_, err := n.ask(words...)
	return err
}

// topologyReply is what this package reads of CLUSTER TOPOLOGY (docs/protocol.md).
type topologyReply struct {
	Leader  string `json:"leader"`
	Term    uint64 `json:"term"`
	Quorum  bool   `json:"quorum"`
	Waiting string `json:"waiting"`
	Nodes   []struct {
		ID      string `json:"id"` // 40 hexadecimal digits made from the node id
		Name    string `json:"name"`
		Up      bool   `json:"up"`
		Loading bool   `json:"loading"`
	} `json:"nodes"`
	Shards []struct {
		Primary     string   `json:"primary"`
		LeaderEpoch uint64   `json:"leader_epoch"`
		InSync      []string `json:"in_sync"`
		Assigned    []string `json:"assigned"`
		Learners    []string `json:"learners"`
		Unclean     []string `json:"unclean"`
	} `json:"shards"`
}

func ndringView(n *Node) (*View, error) {
	text, err := n.ask("CLUSTER", "TOPOLOGY")
	if err != nil {
		return nil, err
	}
	var t topologyReply
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return nil, err
	}
	return t.view(), nil
}

func (t *topologyReply) view() *View {
	names := map[string]string{}
	for _, n := range t.Nodes {
		names[n.ID] = n.Name
	}
	v := &View{Leader: names[t.Leader], Term: t.Term, ids: map[string]string{}}
	switch {
	case t.Waiting != "":
		v.issue = fmt.Errorf("it waits for %s", t.Waiting)
	case !t.Quorum || t.Leader == "":
		v.issue = fmt.Errorf("raft has no quorum")
	case len(t.Shards) == 0:
		v.issue = fmt.Errorf("there are no shards")
	}
	for _, n := range t.Nodes {
		v.ids[n.Name] = n.ID
		if !n.Up || n.Loading {
			v.issue = fmt.Errorf("%s is down or loading", n.Name)
		}
	}
	for i, s := range t.Shards {
		width := Slots / len(t.Shards)
		r := slotRange{first: i * width, last: (i+1)*width - 1, primary: names[s.Primary], leaderEpoch: s.LeaderEpoch}
		copies := 0
		for _, id := range s.InSync {
			if slices.Contains(s.Unclean, id) {
				continue
			}
			copies++
			if id != s.Primary {
				r.replicas = append(r.replicas, names[id])
			}
		}
		r.learners = len(s.Learners)
		for _, id := range s.Assigned {
			r.assigned = append(r.assigned, names[id])
		}
		if s.Primary == "" {
			v.issue = fmt.Errorf("shard %d has no primary", i)
		}
		if i == 0 || copies < v.Copies {
			v.Copies = copies
		}
		v.ranges = append(v.ranges, r)
	}
	return v
}
