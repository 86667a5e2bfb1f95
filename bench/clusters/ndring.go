package clusters

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
)

// NdringReplicates says whether a cluster of ndring must keep the copies that it was started with, and fail
// over. If it is false, the benchmarks report what is missing; otherwise they fail.
const NdringReplicates = true

// NdringOptions describes a cluster of ndring.
type NdringOptions struct {
	Binary   string
	Nodes    int
	Replicas int      // copies of each shard, the primary included
	NoDisk   bool     // keep nothing on disk
	Extra    []string // more options of the program
}

// Ndring starts a cluster of ndring and returns once it serves all slots. The copies of the shards may
// come later: see WaitHealthy.
func Ndring(o NdringOptions) (*Cluster, error) {
	const portsEach = 3
	ports, err := freePorts(o.Nodes * portsEach)
	if err != nil {
		return nil, err
	}
	nodes := make([]*Node, o.Nodes)
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
			"--dir", dir, "--bootstrap-expect", strconv.Itoa(o.Nodes), "--replicas", strconv.Itoa(o.Replicas),
		}, join, o.Extra)
	}
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
	v := &View{Leader: names[t.Leader], Term: t.Term}
	switch {
	case t.Waiting != "":
		v.issue = fmt.Errorf("it waits for %s", t.Waiting)
	case !t.Quorum || t.Leader == "":
		v.issue = fmt.Errorf("raft has no quorum")
	case len(t.Shards) == 0:
		v.issue = fmt.Errorf("there are no shards")
	}
	for _, n := range t.Nodes {
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
