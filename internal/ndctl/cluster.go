package ndctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// told is what CLUSTER TOPOLOGY answers; docs/protocol.md says what the fields are.
type told struct {
	Cluster string      `json:"cluster"`
	Index   uint64      `json:"index"`
	Term    uint64      `json:"term"`
	Self    string      `json:"self"`
	Leader  string      `json:"leader"`
	Voters  []string    `json:"voters"`
	Quorum  bool        `json:"quorum"`
	Waiting string      `json:"waiting"`
	Nodes   []toldNode  `json:"nodes"`
	Shards  []toldShard `json:"shards"`
}

type toldNode struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Zone    string `json:"zone"`
	Started int64  `json:"incarnation"` // which start of it this is
	Host    string `json:"host"`
	Port    int    `json:"port"`
	Leaving bool   `json:"leaving"`
	Up      bool   `json:"up"`
	Loading bool   `json:"loading"`
	Since   int64  `json:"since"` // ms
}

type toldShard struct {
	Epoch    uint64   `json:"epoch"`
	Primary  string   `json:"primary"`
	InSync   []string `json:"in_sync"`
	Assigned []string `json:"assigned"`
}

// member is a node of the cluster.
type member struct {
	toldNode
	address string        // empty: not for clients of this listener
	client  *redis.Client // nil without an address
	self    bool          // it is the one that was asked first
}

// label is how people know a node.
func (n *toldNode) label() string {
	if n.Name != "" && n.Name != n.ID {
		return oneLine(n.Name)
	}
	return short(n.ID)
}

// short is the beginning of an id.
func short(id string) string { return id[:min(len(id), 8)] }

func sortMembers(all []*member) {
	slices.SortFunc(all, func(a, b *member) int { return cmp.Or(cmp.Compare(a.label(), b.label()), cmp.Compare(a.ID, b.ID)) })
}

// byID returns the node with an id; nil for none.
func (v *view) byID(id string) *member {
	for _, m := range v.nodes {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// nameOf returns how people know the node with an id; nothing for none.
func (v *view) nameOf(id string) string {
	switch m := v.byID(id); {
	case id == "":
		return ""
	case m == nil:
		return short(id)
	default:
		return m.label()
	}
}

func (v *view) namesOf(ids []string) []string {
	names := []string{}
	for _, id := range ids {
		names = append(names, v.nameOf(id))
	}
	return names
}

// find returns the node that a user means: by its name, its id, or the beginning of either that no other one has.
func (v *view) find(name string) (*member, error) {
	var found []*member
	for _, m := range v.nodes {
		switch {
		case m.ID == name || m.Name == name:
			return m, nil
		case name != "" && (strings.HasPrefix(m.ID, strings.ToLower(name)) || strings.HasPrefix(m.Name, name)):
			found = append(found, m)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	names := func(all []*member) string {
		var s []string
		for _, m := range all {
			s = append(s, fmt.Sprintf("%s (%s)", m.label(), short(m.ID)))
		}
		return strings.Join(s, ", ")
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("%q can be %s", name, names(found))
	}
	return nil, fmt.Errorf("there is no node %q; there are %s", name, names(v.nodes))
}

// meant returns the node that a command is for: the one with a name, or without that the one at the only address that was given. Flag is what else would say which.
func (v *view) meant(name, flag string) (*member, error) {
	switch {
	case name != "":
		return v.find(name)
	case len(v.app.addrs) > 1:
		return nil, usageError("there are several addresses: say which node is meant with %s", flag)
	}
	return v.byID(v.told.Self), nil
}

// shardOf returns the shard that a key is in, and its row.
func (v *view) shardOf(key string) (slot, shard int, row toldShard) {
	slot = topology.Slot([]byte(key))
	shard = int(topology.ShardOf(slot, len(v.told.Shards)))
	return slot, shard, v.told.Shards[shard]
}

// slotsOf returns the first and the last slot of a shard.
func (v *view) slotsOf(shard int) (first, last int) {
	return topology.ShardID(shard).Slots(len(v.told.Shards))
}

// served reports whether a shard has a primary that lives, as the node that was asked sees it.
func (v *view) served(s toldShard) bool {
	primary := v.byID(s.Primary)
	return primary != nil && primary.Up
}

// failure is what went wrong with one node.
type failure struct {
	node *member
	err  error
}

// each runs something for all nodes side by side, and returns with whom it failed.
func each(ctx context.Context, nodes []*member, do func(context.Context, int, *member) error) (failed []failure) {
	errs := make([]error, len(nodes))
	var wait sync.WaitGroup
	for i, m := range nodes {
		wait.Go(func() { errs[i] = do(ctx, i, m) })
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			failed = append(failed, failure{nodes[i], err})
		}
	}
	return failed
}

// partial says which nodes failed, and ends the program with that if there are any.
func (a *app) partial(failed []failure) error {
	for _, f := range failed {
		where := f.node.label()
		if f.node.address != "" {
			where += " (" + f.node.address + ")"
		}
		fmt.Fprintf(a.err, "%s: %s: %s\n", a.name, where, words(f.err))
	}
	if len(failed) == 0 {
		return nil
	}
	if rights := slices.IndexFunc(failed, func(f failure) bool { return rightsHint(f.err) != "" }); rights >= 0 {
		return &exitError{code: exitRights}
	}
	return errSaid
}

// errorOf returns what went wrong with a node; nil for nothing.
func errorOf(failed []failure, m *member) error {
	for _, f := range failed {
		if f.node == m {
			return f.err
		}
	}
	return nil
}

// absence is the state of a node that tells nothing.
func absence(err error) string {
	if rightsHint(err) != "" {
		return "denied"
	}
	return "down"
}

// onCluster is the usual frame of a command: it connects, runs, and closes.
func (a *app) onCluster(ctx context.Context, run func(*view) error) error {
	v, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	return run(v)
}

var errNobody = errors.New("no other node answers")
