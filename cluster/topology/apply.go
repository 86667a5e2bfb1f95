package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

var (
	// ErrStale is returned for an op that expects another epoch of its shard, or another incarnation of its node, than there is; and for one that asks for what is so already, which
	// somebody else has decided meanwhile. Who proposed it looks at the new topology.
	ErrStale = errors.New("the topology has changed meanwhile")
	// ErrNoCluster is returned for every op but Create before the cluster is made.
	ErrNoCluster = errors.New("there is no cluster yet")
	// ErrExists is returned for Create when the cluster is made already.
	ErrExists = errors.New("there is a cluster already")
	// ErrUnknownNode is returned for an op that names a node that is no member, or is none any more.
	ErrUnknownNode = errors.New("no member of the cluster")
	// ErrUnknownShard is returned for an op on a shard that the cluster has not.
	ErrUnknownShard = errors.New("no such shard")
	// ErrRefused is returned for an op that would break a rule of the topology, such as a primary that has no copy in step, and for one that makes no sense.
	ErrRefused = errors.New("refused")
)

// maxFirstEpoch leaves room for more changes than there will be, so that no epoch ever begins at 0 again.
const maxFirstEpoch = 1 << 62

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Apply returns the topology after the log entry with an index, and for each op of the command nil, or why it was not done. It is a function of its arguments alone: every
// node that applies the same entries has the same topology. t, which may be nil before there is a cluster, stays as it is; what does not change is shared.
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

// edit is a topology that is being made. An op that fails leaves it as it was.
type edit struct {
	t                                            Topology
	ownNodes, ownShards, ownConfig, ownForgotten bool // those parts are not shared with the topology before
}

func (e *edit) do(op Op) error {
	if op.Kind == Create {
		return e.create(op)
	}
	if e.t.Cluster == "" {
		return ErrNoCluster
	}
	switch op.Kind {
	case NodeJoin:
		return e.nodeJoin(op)
	case NodeLeave:
		return e.nodeLeave(op)
	case NodeForget:
		return e.nodeForget(op)
	case ConfigSet, ConfigReset:
		return e.config(op)
	case Assign, Promote, Resign, ShrinkISR, AddLearner, ExpandISR, TransferPrimary:
		return e.onShard(op)
	}
	return refused("unknown kind of op %q", op.Kind)
}

// create makes the cluster. Its shards have no primaries yet: the controller gives them out.
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
		if nodes[i].ID == "" || i > 0 && nodes[i].ID == nodes[i-1].ID {
			return refused("node id %q is empty or there twice", nodes[i].ID)
		}
	}
	row := Shard{Epoch: op.Epoch, EmptySince: op.Epoch}
	if op.Node != "" {
		if _, ok := find(nodes, op.Node); !ok {
			return fmt.Errorf("%w: %s", ErrUnknownNode, op.Node)
		}
		row = Shard{Epoch: op.Epoch, ISR: []NodeID{op.Node}}
	}
	e.t.Cluster, e.t.Replicas, e.t.Nodes, e.t.Settings, e.t.SetAt = op.Cluster, max(op.Replicas, 1), nodes, nil, nil
	e.t.Shards = slices.Repeat([]Shard{row}, op.Shards)
	e.ownNodes, e.ownShards, e.ownConfig = true, true, true
	return nil
}

// config sets or resets a setting. Which names and values there are the nodes know: here any will do, so that of one command's ops either all are done or none.
func (e *edit) config(op Op) error {
	if op.Name == "" {
		return refused("a setting needs a name")
	}
	if !e.ownConfig {
		e.t.Settings, e.t.SetAt = maps.Clone(e.t.Settings), maps.Clone(e.t.SetAt)
		e.ownConfig = true
	}
	if e.t.Settings == nil { // there are none
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

// nodes returns the nodes to be changed.
func (e *edit) nodes() []Node {
	if !e.ownNodes {
		e.t.Nodes = slices.Clone(e.t.Nodes)
		e.ownNodes = true
	}
	return e.t.Nodes
}

// forgotten returns the forgotten nodes to be changed.
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

// shard returns the row to be changed. Its lists may be shared: they are replaced, never written.
func (e *edit) shard(id int) *Shard {
	if !e.ownShards {
		e.t.Shards = slices.Clone(e.t.Shards)
		e.ownShards = true
	}
	return &e.t.Shards[id]
}

// without returns the list without a node: the list itself if the node is not in it, never a changed one.
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

// with returns a new list with a node at its end.
func with(list []NodeID, id NodeID) []NodeID { return append(slices.Clip(list), id) }

// distinct reports whether no node is in the list twice.
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
