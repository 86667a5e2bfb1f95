package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

var (
	// ErrStale is returned for an op whose shard is in another epoch, or whose node in another incarnation,
	// than the op expects, and for an op that another proposal has made pointless. The proposer should
	// look at the new topology.
	ErrStale = errors.New("the topology has changed meanwhile")
	// ErrNoCluster is returned for every op but Create before the cluster exists.
	ErrNoCluster = errors.New("the cluster does not exist yet")
	// ErrExists is returned for Create when the cluster exists.
	ErrExists = errors.New("the cluster exists already")
	// ErrUnknownNode is returned for an op on a node that is not a member.
	ErrUnknownNode = errors.New("not a member of the cluster")
	// ErrUnknownShard is returned for an op on a shard that does not exist.
	ErrUnknownShard = errors.New("no such shard")
	// ErrRefused is returned for an invalid op, and for one that would break an invariant of the topology,
	// such as promoting a node that is not in the ISR.
	ErrRefused = errors.New("refused")
	// ErrFormat is returned for a topology or an op of a later format than this program knows. The node must stop.
	ErrFormat = errors.New("the topology has a format that this program does not know: start a newer ndring")
)

// maxFirstEpoch leaves room for more changes than a cluster will ever see, so epochs never overflow.
const maxFirstEpoch = 1 << 62

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Apply returns the topology after the log entry with the given index, and for each op of the command nil
// or why it was refused. It depends on its arguments alone: nodes that apply the same entries have the
// same topology. t may be nil before the cluster exists. Apply does not change t; the result shares the
// parts that stay the same.
func (t *Topology) Apply(index uint64, c Command) (*Topology, []error) {
	e := &edit{}
	if t != nil {
		e.t = *t
	}
	e.t.Index = index
	errs := make([]error, len(c.Ops))
	for i, op := range c.Ops {
		if err := e.do(op); err != nil {
			errs[i] = fmt.Errorf("%s: %w", op.Kind, err)
		}
	}
	return &e.t, errs
}

// edit is a topology under construction. A refused op leaves it unchanged.
type edit struct {
	t                                            Topology
	ownNodes, ownShards, ownConfig, ownForgotten bool // the part is a copy, no longer shared with the previous topology
}

func (e *edit) do(op Op) error {
	switch {
	case e.t.Format > LatestFormat || op.Format > LatestFormat:
		return fmt.Errorf("%w: format %d", ErrFormat, max(e.t.Format, op.Format))
	case op.Kind == Create:
		return e.create(op)
	}
	if e.t.Cluster == "" {
		return ErrNoCluster
	}
	switch op.Kind {
	case NodeJoin:
		return e.nodeJoin(op)
	case NodeLeave:
		return e.nodeState(op, Leaving)
	case NodeDrain, NodeStay, SetPlacement:
		return e.inFormat2(op)
	case NodeForget:
		return e.nodeForget(op)
	case ConfigSet, ConfigReset:
		return e.config(op)
	case UserSet, UserDelete:
		return e.inFormat3(op)
	case Assign, Promote, Resign, ShrinkISR, AddLearner, DropLearner, ExpandISR, TransferPrimary, MarkUnclean, BeginEmpty:
		return e.onShard(op)
	case SetFormat:
		return e.setFormat(op)
	}
	return refused("unknown kind of op %q", op.Kind)
}

// create creates the cluster. Its shards have no primaries yet: the controller promotes them.
func (e *edit) create(op Op) error {
	if e.t.Cluster != "" {
		return fmt.Errorf("%w: %s", ErrExists, e.t.Cluster)
	}
	if err := CheckShards(op.Shards); err != nil {
		return refused("%v", err)
	}
	if op.Cluster == "" || op.Epoch == 0 || op.Epoch > maxFirstEpoch || op.Replicas < 0 || len(op.Nodes) == 0 {
		return refused("a cluster needs an id, a first epoch of at most %d, and nodes", uint64(maxFirstEpoch))
	}
	nodes := slices.Clone(op.Nodes)
	sortNodes(nodes)
	for i := range nodes {
		nodes[i].State = Active
		nodes[i].weigh(op.Format)
		if nodes[i].ID == "" || i > 0 && nodes[i].ID == nodes[i-1].ID {
			return refused("node id %q is empty or used twice", nodes[i].ID)
		}
	}
	row := Shard{Epoch: op.Epoch, EmptySince: op.Epoch, Relinquished: op.Format != Format0} // it never had a primary
	if op.Node != "" {
		i, ok := find(nodes, op.Node)
		if !ok {
			return fmt.Errorf("%w: %s", ErrUnknownNode, op.Node)
		}
		row.EmptySince, row.ISR = 0, []NodeID{op.Node}
		if op.Unclean && op.Format != Format0 {
			row.addUnclean(op.Node, op.Lossy || !nodes[i].Always)
		}
	}
	e.t.Cluster, e.t.Replicas, e.t.Nodes, e.t.Settings, e.t.SetAt = op.Cluster, max(op.Replicas, 1), nodes, nil, nil
	e.t.Users = nil
	e.t.Shards, e.t.Format = slices.Repeat([]Shard{row}, op.Shards), op.Format
	e.ownNodes, e.ownShards, e.ownConfig = true, true, true
	return nil
}

// setFormat brings a topology of an earlier format to the next one. A primary goes on: its epoch stays, and is the
// leader epoch that nodes have assumed for it. What is not known counts as what costs a wait and no data.
func (e *edit) setFormat(op Op) error {
	if op.Format <= e.t.Format {
		return fmt.Errorf("%w: the topology has format %d", ErrStale, e.t.Format)
	}
	was := e.t.Format
	e.t.Format = op.Format
	if was != Format0 {
		return nil
	}
	for i := range e.t.Nodes {
		e.nodes()[i].Log = true
	}
	for i, row := range e.t.Shards {
		if row.Primary != "" {
			e.shard(i).LeaderEpoch = row.Epoch
		}
	}
	return nil
}

// config sets or resets a setting. It accepts any name and value: the nodes validate them before they
// propose, so the ops of one command are applied all or none.
func (e *edit) config(op Op) error {
	if op.Name == "" {
		return refused("a setting needs a name")
	}
	if !e.ownConfig {
		e.t.Settings, e.t.SetAt = maps.Clone(e.t.Settings), maps.Clone(e.t.SetAt)
		e.ownConfig = true
	}
	if e.t.Settings == nil {
		e.t.Settings = map[string]string{}
	}
	if e.t.SetAt == nil {
		e.t.SetAt = map[string]uint64{}
	}
	e.t.SetAt[op.Name] = e.t.Index
	if op.Kind == ConfigSet {
		e.t.Settings[op.Name] = op.Value
	} else {
		delete(e.t.Settings, op.Name)
	}
	return nil
}

// nodes returns the nodes for changing.
func (e *edit) nodes() []Node {
	if !e.ownNodes {
		e.t.Nodes = slices.Clone(e.t.Nodes)
		e.ownNodes = true
	}
	return e.t.Nodes
}

// forgotten returns the forgotten nodes for changing.
func (e *edit) forgotten() map[NodeID]uint64 {
	if !e.ownForgotten {
		e.t.Forgotten = maps.Clone(e.t.Forgotten)
		e.ownForgotten = true
	}
	if e.t.Forgotten == nil {
		e.t.Forgotten = map[NodeID]uint64{}
	}
	return e.t.Forgotten
}

// shard returns a row for changing. Its lists may be shared: replace them, never write to them.
func (e *edit) shard(id int) *Shard {
	if !e.ownShards {
		e.t.Shards = slices.Clone(e.t.Shards)
		e.ownShards = true
	}
	return &e.t.Shards[id]
}

// without returns the list without a node. It never changes the list, and returns the list itself if the node is not in it.
func without(list []NodeID, id NodeID) []NodeID {
	i := slices.Index(list, id)
	if i < 0 {
		return list
	}
	if len(list) == 1 {
		return nil
	}
	return slices.Concat(list[:i], list[i+1:])
}

// with returns a new list with a node appended.
func with(list []NodeID, id NodeID) []NodeID { return append(slices.Clip(list), id) }

// distinct reports whether the list has no duplicates.
func distinct(list []NodeID) bool {
	for i, id := range list {
		if slices.Contains(list[:i], id) {
			return false
		}
	}
	return true
}

// within reports whether all nodes of list are in of.
func within(list, of []NodeID) bool {
	for _, id := range list {
		if !slices.Contains(of, id) {
			return false
		}
	}
	return true
}
