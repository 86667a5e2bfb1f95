package view

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Report is what one node says about itself, or why it says nothing.
type Report struct {
	Address string // where the node was asked; empty if it has no address
	Err     string // why the node did not report; empty if it did
	Denied  bool   // Err is about rights: the node is alive, but refuses this user

	Waiting         string // what the node waits for before it serves
	RefusedSettings string // names of the cluster's settings that it cannot apply
	Loading         bool   // it is still reading its shards from disk
	StoppedShards   int    // shards that are read-only because their disk failed
	DiskFull        bool
	LogFailed       bool // the last write to its log failed
	SnapshotFailed  bool
}

// Health is the verdict on a cluster.
type Health struct {
	Problems []string // in words, which may change from version to version; empty if all is well
	Down     []string // labels of the nodes that did not report
	Served   int      // shards whose primary is alive
	Unserved int
	Quorum   bool            // a leader exists, and was heard from recently
	Leader   topology.NodeID // empty without a quorum
}

// Health judges the cluster by what Self sees and by the reports of the nodes, in the order of
// c.Nodes. Problems appear in that order too.
func (c *Cluster) Health(reports []Report, now time.Time) Health {
	h := Health{Problems: []string{}, Down: []string{}, Quorum: c.Quorum && c.Leader != ""}
	if h.Quorum {
		h.Leader = c.Leader // without a quorum, it is the last one there was
	}
	for i := range c.Nodes {
		n, r := &c.Nodes[i], &reports[i]
		if r.Err != "" {
			h.Down = append(h.Down, n.Label())
			h.Problems = append(h.Problems, c.silence(n, r, now))
			continue
		}
		for _, p := range r.problems() {
			h.Problems = append(h.Problems, n.Label()+" "+p)
		}
		if !n.Up {
			h.Problems = append(h.Problems, fmt.Sprintf("%s answers, but %s does not see it: is the network between them cut?", n.Label(), c.Label(c.Self)))
		}
	}
	for i := range c.Shards {
		if c.Served(i) {
			h.Served++
		}
	}
	h.Unserved = len(c.Shards) - h.Served
	if h.Unserved > 0 {
		h.Problems = append(h.Problems, fmt.Sprintf("%d of %s not served: %s", h.Unserved, count(len(c.Shards), "shard"), c.holders()))
	}
	if text := c.degraded(); text != "" {
		h.Problems = append(h.Problems, text)
	}
	if n := len(c.Wiped()); n > 0 {
		h.Problems = append(h.Problems, fmt.Sprintf("%s may begin empty: with ndctl begin-empty, or a minute after the node came back if the setting empty-shards is auto", count(n, "shard")))
	}
	if !h.Quorum {
		h.Problems = append(h.Problems, c.noQuorum())
	}
	return h
}

// silence says why a node did not report.
func (c *Cluster) silence(n *Node, r *Report, now time.Time) string {
	who := n.Label()
	if r.Address != "" {
		who += " (" + r.Address + ")"
	}
	switch {
	case r.Denied:
		return fmt.Sprintf("%s refuses to report its state: %s", who, r.Err)
	case n.Up:
		return fmt.Sprintf("%s does not answer from here, although %s sees it: %s", who, c.Label(c.Self), r.Err)
	case n.Since > 0:
		return fmt.Sprintf("%s has been down for %s: %s", who, Duration(max(0, now.Sub(time.UnixMilli(n.Since)))), r.Err)
	}
	return fmt.Sprintf("%s is down: %s", who, r.Err)
}

// problems says what a node reports to be wrong with itself; its label goes in front.
func (r *Report) problems() (all []string) {
	add := func(wrong bool, text string) {
		if wrong {
			all = append(all, text)
		}
	}
	add(r.Waiting != "", "waits for "+r.Waiting)
	add(r.RefusedSettings != "", "cannot apply settings of the cluster ("+r.RefusedSettings+") and keeps its own: see its log")
	add(r.Loading, "is still reading its shards from disk")
	add(r.StoppedShards > 0, fmt.Sprintf("has %s read-only because their disk failed: restart it when the disk works again", count(r.StoppedShards, "shard")))
	add(r.DiskFull, "has a full disk (disk-reserve) and refuses writes")
	add(r.LogFailed, "could not write to its log")
	add(r.SnapshotFailed, "could not write its last snapshot")
	return all
}

// holders counts the unserved shards by what they wait for: the primary, or else copies in sync.
func (c *Cluster) holders() string {
	counts := map[string]int{}
	for i := range c.Shards {
		if !c.Served(i) {
			counts[c.holder(&c.Shards[i])]++
		}
	}
	var texts []string
	for holder, n := range counts {
		texts = append(texts, fmt.Sprintf("%d %s", n, holder))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// holder says which copy an unserved shard waits for.
func (c *Cluster) holder(s *Shard) string {
	switch {
	case s.Primary != "":
		return "of " + c.Label(s.Primary)
	case s.WaitsFor == topology.WaitsForAll:
		are := "are"
		if len(s.WaitsOn) == 1 {
			are = "is"
		}
		return fmt.Sprintf("until %s %s back, since no copy is clean", strings.Join(c.Labels(s.WaitsOn), " and "), are)
	case s.WaitsFor == topology.WaitsForCopy:
		return "of " + strings.Join(c.Labels(s.WaitsOn), " or ")
	case s.WaitsFor == topology.WaitsForEmpty:
		return "whose last copy was on " + strings.Join(c.Labels(s.WaitsOn), " or ") + ", which came back with another data folder"
	case len(s.InSync) > 0: // the node that was asked is of a version without WaitsFor
		return "of " + strings.Join(c.Labels(s.InSync), " or ")
	}
	return "without a copy"
}

// Wiped returns the shards that have lost their last copy and wait to begin empty.
func (c *Cluster) Wiped() (shards []int) {
	for i := range c.Shards {
		if c.Shards[i].WaitsFor == topology.WaitsForEmpty {
			shards = append(shards, i)
		}
	}
	return shards
}

func (c *Cluster) noQuorum() string {
	up := 0
	var missing []string
	for _, id := range c.Voters {
		if n := c.Node(id); n != nil && n.Up {
			up++
		} else {
			missing = append(missing, c.Label(id))
		}
	}
	slices.Sort(missing)
	text := fmt.Sprintf("no quorum: %d of %s up, so the topology cannot change", up, count(len(c.Voters), "voter"))
	if len(missing) > 0 {
		text += "; missing: " + strings.Join(missing, ", ")
	}
	if up <= len(c.Voters)/2 {
		text += ". If they are lost for good: ndctl raft recover"
	}
	return text
}

// count returns a number with its noun.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Duration returns a duration in its two largest units, as people read it.
func Duration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
