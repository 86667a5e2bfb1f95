package clusters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Cluster is a running cluster. Its methods are not safe for concurrent use.
type Cluster struct {
	Name  string
	Set   string // the command that stores a value
	Get   string
	Nodes []*Node

	dir   string
	spare []*Node // that were not started
	left  []*Node // that have left or leave, and run
	view  func(asked *Node) (*View, error)
	move  func(replica *Node) error
}

// View is how one node sees its cluster.
type View struct {
	Leader string // name of raft's leader; Redis: empty
	Term   uint64 // of raft; Redis: 0
	Copies int    // the smallest number of usable copies of any range
	ranges []slotRange
	ids    map[string]string // of all nodes, by name; Redis: none
	issue  error             // why the cluster is not healthy; nil: it is
}

// slotRange is a range of slots with the nodes that have copies of it, by name.
type slotRange struct {
	first, last int
	primary     string
	leaderEpoch uint64   // in which the primary became the primary; Redis: 0
	replicas    []string // with a usable copy
	assigned    []string // that should have copies, the preferred primary first; Redis: none
	learners    int      // nodes that catch up; Redis: 0
}

var errNoView = errors.New("no node answers")

// View asks the nodes in turn, and returns the first answer.
func (c *Cluster) View() (*View, error) {
	err := errNoView
	for _, n := range c.Nodes {
		v, failed := c.view(n)
		if failed == nil {
			return v, nil
		}
		err = fmt.Errorf("%s: %w", n.Name, failed)
	}
	return nil, err
}

// ViewOf asks one node.
func (c *Cluster) ViewOf(n *Node) (*View, error) { return c.view(n) }

// Wipe removes all files of a killed node.
func (c *Cluster) Wipe(n *Node) error {
	dir := filepath.Join(c.dir, n.Name)
	return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
}

// Node returns the node with a name, or nil.
func (c *Cluster) Node(name string) *Node {
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return c.Nodes[i]
}

// Primaries returns the names of the nodes that serve slots, sorted.
func (v *View) Primaries() (names []string) {
	for _, r := range v.ranges {
		if r.primary != "" && !slices.Contains(names, r.primary) {
			names = append(names, r.primary)
		}
	}
	slices.Sort(names)
	return names
}

// Replicas returns the names of the nodes with a copy of a slot that another node serves, sorted.
func (v *View) Replicas() (names []string) {
	for _, r := range v.ranges {
		for _, name := range r.replicas {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Changed returns how many ranges have another primary than in an earlier view, or the same one after an interruption.
func (v *View) Changed(earlier *View) (n int) {
	for i, r := range v.ranges {
		if i >= len(earlier.ranges) || r.primary != earlier.ranges[i].primary || r.leaderEpoch != earlier.ranges[i].leaderEpoch {
			n++
		}
	}
	return n
}

// Members returns the names of all nodes, sorted.
func (v *View) Members() []string { return slices.Sorted(maps.Keys(v.ids)) }

// ID returns the id by which commands name a node.
func (v *View) ID(name string) string { return v.ids[name] }

// CopiesOn returns how many ranges a node has a usable copy of, by name.
func (v *View) CopiesOn() map[string]int {
	on := map[string]int{}
	for _, r := range v.ranges {
		on[r.primary]++
		for _, name := range r.replicas {
			on[name]++
		}
	}
	return on
}

// Assigned returns how many copies each node should have, by name.
func (v *View) Assigned() map[string]int {
	to := map[string]int{}
	for _, r := range v.ranges {
		for _, name := range r.assigned {
			to[name]++
		}
	}
	return to
}

// Moving returns how many ranges do not have their copies and their primary where they should.
func (v *View) Moving() (n int) {
	for _, r := range v.ranges {
		is := slices.Sorted(slices.Values(append([]string{r.primary}, r.replicas...)))
		if len(r.assigned) == 0 || r.primary != r.assigned[0] || !slices.Equal(is, slices.Sorted(slices.Values(r.assigned))) {
			n++
		}
	}
	return n
}

// CatchingUp returns the ranges of which a node catches up with a copy.
func (v *View) CatchingUp() (ranges []int) {
	for i, r := range v.ranges {
		if r.learners > 0 {
			ranges = append(ranges, i)
		}
	}
	return ranges
}

// New returns the ranges of the copies that are not in an earlier view: a range twice if two nodes have a new one.
func (v *View) New(earlier *View) (ranges []int) {
	for i, r := range v.ranges {
		had := append([]string{earlier.ranges[i].primary}, earlier.ranges[i].replicas...)
		for _, name := range append([]string{r.primary}, r.replicas...) {
			if !slices.Contains(had, name) {
				ranges = append(ranges, i)
			}
		}
	}
	return ranges
}

// Transferred returns the ranges that another node serves than in an earlier view.
func (v *View) Transferred(earlier *View) (ranges []int) {
	for i, r := range v.ranges {
		if r.primary != earlier.ranges[i].primary {
			ranges = append(ranges, i)
		}
	}
	return ranges
}

// Range returns the number of the range that has a slot; -1: none has it.
func (v *View) Range(slot int) int {
	return slices.IndexFunc(v.ranges, func(r slotRange) bool { return r.first <= slot && slot <= r.last })
}

// Issue returns why the cluster is not healthy; nil: it is.
func (v *View) Issue() error { return v.issue }

// Of returns the primary and the replicas of a slot.
func (v *View) Of(slot int) (primary string, replicas []string) {
	for _, r := range v.ranges {
		if r.first <= slot && slot <= r.last {
			return r.primary, r.replicas
		}
	}
	return "", nil
}

// Keys returns n keys with a prefix whose slots satisfy a condition.
func (v *View) Keys(n int, prefix string, is func(primary string, replicas []string) bool) ([]string, error) {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if i == 200*n+2000 {
			return nil, fmt.Errorf("only %d of %d keys are on the wanted nodes", len(keys), n)
		}
		if key := fmt.Sprintf("%s:%d", prefix, i); is(v.Of(Slot(key))) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// WaitHealthy returns once every node says that the cluster is healthy: all nodes are up, all slots
// are served, and each has at least the given number of usable copies.
func (c *Cluster) WaitHealthy(copies int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return poll(ctx, func() error {
		for _, n := range c.Nodes {
			v, err := c.view(n)
			if err == nil {
				err = v.issue
			}
			if err == nil && v.Copies < copies {
				err = fmt.Errorf("a shard has %d usable copies, want %d", v.Copies, copies)
			}
			if err != nil {
				return fmt.Errorf("%s is not healthy: %s: %w", c.Name, n.Name, err)
			}
		}
		return nil
	})
}

// HandOver asks a replica to take over from its primary in a planned way.
func (c *Cluster) HandOver(replica *Node) error { return c.move(replica) }

// Close kills all processes and removes their folders.
func (c *Cluster) Close() {
	for _, n := range c.All() {
		if n.cmd != nil {
			n.Kill()
		}
	}
	os.RemoveAll(c.dir)
}

// Logs returns the ends of the logs of all nodes.
func (c *Cluster) Logs() string {
	var text string
	for _, n := range c.Nodes {
		text += n.tail() + "\n"
	}
	return text
}

// newCluster makes the folder of a cluster in a parent folder, "" for that of temporary files, with one
// folder per node.
func newCluster(name, parent string, nodes ...*Node) (*Cluster, error) {
	dir, err := os.MkdirTemp(parent, "ndring-bench-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: name, Nodes: nodes, dir: dir}
	for _, n := range nodes {
		n.log = filepath.Join(dir, n.Name+".log")
		if err := os.Mkdir(filepath.Join(dir, n.Name), 0o700); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// startAll starts all processes and returns once each answers PING.
func (c *Cluster) startAll() error {
	for _, n := range c.Nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return poll(ctx, func() error {
		for _, n := range c.Nodes {
			if _, err := n.ask("PING"); err != nil {
				return err
			}
		}
		return nil
	})
}

const startLimit = 30 * time.Second
