package ndctl

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/redcon"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// movingNode is the only node with an address of a cluster of four nodes and four shards; n4 is down. It records orders. Once it is
// ordered to move copies, each CLUSTER MOVES shows the next step.
type movingNode struct {
	mu      sync.Mutex
	plan    view.Plan
	steps   []movingStep // the last one stays
	refusal string       // of the order; empty: it is obeyed
	stale   bool         // the placement changes before the order
	earlier bool         // it is of an earlier version
	heard   func(string) // called for each command
	n2      string       // address of n2; empty: it has none
	leaves  bool         // n2 is no member any more at the last step

	orders  []string
	started bool
	emptied bool // n2 has no copies at the last step
	at      int
}

// movingStep is what the node knows at a time.
type movingStep struct {
	moves  view.Moves
	shards []view.Shard
}

func ids(names ...topology.NodeID) []topology.NodeID { return names }

// row returns the row of a shard whose copies are in sync.
func row(assigned ...topology.NodeID) view.Shard {
	return view.Shard{Epoch: 1, Primary: assigned[0], InSync: assigned, Assigned: assigned}
}

func restingShards() []view.Shard {
	return []view.Shard{row("aa", "bb"), row("aa", "bb"), row("bb", "aa"), row("bb", "aa")}
}

func (n *movingNode) answer(args []string) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	line := strings.Join(args, " ")
	last := args[len(args)-1]
	if n.heard != nil {
		n.heard(line)
	}
	switch {
	case line == "CLUSTER TOPOLOGY":
		return encoded(n.cluster())
	case strings.HasPrefix(line, "INFO"):
		return "ndring_version:1\r\n"
	case n.earlier:
		return errText(fmt.Sprintf("ERR unknown subcommand '%s'. Try CLUSTER HELP.", args[1]))
	case line == "CLUSTER MOVES":
		if len(n.steps) == 0 {
			return encoded(view.Moves{})
		}
		n.at = min(n.at+1, len(n.steps))
		return encoded(n.steps[n.at-1].moves)
	case last == "PLAN":
		n.orders = append(n.orders, line)
		return encoded(n.plan)
	}
	n.orders = append(n.orders, line)
	switch {
	case n.refusal != "":
		if n.stale {
			n.plan.Base++
		}
		return errText(n.refusal)
	case strings.HasPrefix(line, "CLUSTER MOVES CANCEL"):
		return redcon.SimpleInt(len(args) / 2)
	}
	n.started, n.at = true, 0
	n.emptied = strings.HasPrefix(line, "CLUSTER DRAIN bb") || strings.HasPrefix(line, "CLUSTER REPLACE bb")
	return "OK"
}

// cluster returns what the node knows of the cluster.
func (n *movingNode) cluster() view.Cluster {
	c := view.Cluster{ID: "c1", Index: 7, Term: 3, Self: "aa", Leader: "aa", Voters: ids("aa"), Quorum: true, Shards: restingShards(), Nodes: []view.Node{
		{ID: "aa", Name: "n1", Up: true, Weight: 100}, {ID: "bb", Name: "n2", Up: true, Weight: 100}, {ID: "cc", Name: "n3", Up: true, Weight: 100}, {ID: "dd", Name: "n4", Weight: 100},
	}}
	if host, port, err := net.SplitHostPort(n.n2); err == nil {
		c.Nodes[1].Host = host
		c.Nodes[1].Port, _ = strconv.Atoi(port)
	}
	if n.started && n.at > 0 {
		c.Shards = slices.Clone(n.steps[n.at-1].shards)
		for i, s := range c.Shards {
			if at := slices.Index(s.InSync, "bb"); at >= 0 && n.emptied && n.at == len(n.steps) {
				c.Shards[i] = row(slices.Concat(s.InSync[:at], ids("dd"), s.InSync[at+1:])...)
			}
		}
		if n.leaves && n.at == len(n.steps) {
			c.Nodes = slices.Delete(c.Nodes, 1, 2)
		}
	}
	return c
}

func encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// ordered returns the orders other than plans, one a line.
func (n *movingNode) ordered() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var orders []string
	for _, order := range n.orders {
		if !strings.HasSuffix(order, " PLAN") {
			orders = append(orders, order)
		}
	}
	return strings.Join(orders, "\n")
}

// planned returns the plans that were asked for, one a line.
func (n *movingNode) planned() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var orders []string
	for _, order := range n.orders {
		if plan, ok := strings.CutSuffix(order, " PLAN"); ok {
			orders = append(orders, plan)
		}
	}
	return strings.Join(orders, "\n")
}

// env starts the node and returns an environment with its address.
func (n *movingNode) env(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"NDRING_ADDR": fakeServer(t, n.answer)}
}

const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30

// twoToN3 is a plan that makes two copies on n3 and changes one primary.
func twoToN3() view.Plan {
	return view.Plan{
		Base: 41, Bytes: 3 * gib, Transfers: 1,
		Moves: []view.PlannedMove{{Shard: 1, From: "bb", To: "cc", Bytes: 2 * gib}, {Shard: 2, From: "aa", To: "cc", Bytes: gib}},
		Nodes: []view.PlannedNode{
			{ID: "cc", CopiesAfter: 2, PrimariesAfter: 1, BytesIn: 3 * gib, Room: topology.NoLimit, RoomKnown: true},
			{ID: "aa", Copies: 4, CopiesAfter: 3, Primaries: 2, PrimariesAfter: 2, BytesOut: gib, Room: 5 * gib, RoomKnown: true},
			{ID: "bb", Copies: 4, CopiesAfter: 3, Primaries: 2, PrimariesAfter: 1, BytesOut: 2 * gib},
		},
	}
}

// twoStepsToN3 carry that plan out: the first copy is on its way, the second waits; the first ends; all is done.
func twoStepsToN3() []movingStep {
	begun, half, done := restingShards(), restingShards(), restingShards()
	begun[1].Assigned, begun[2].Assigned = ids("aa", "cc"), ids("cc", "bb")
	copy(half, begun)
	half[1] = row("aa", "cc")
	copy(done, half)
	done[2] = row("cc", "bb")
	first := view.Move{Shard: 1, State: view.MoveCopying, From: "aa", To: "cc", Replaces: "bb", Bytes: 2 * gib, Done: gib / 2}
	second := view.Move{Shard: 2, State: view.MoveWaiting, From: "bb", To: "cc", Replaces: "aa", Bytes: gib, Waits: "2 copies are on their way to n3"}
	later := second
	later.State, later.Done, later.Waits = view.MoveCopying, gib/4, ""
	return []movingStep{
		{view.Moves{Moves: []view.Move{first, second}}, begun},
		{view.Moves{Moves: []view.Move{later}}, half},
		{view.Moves{}, done},
	}
}
