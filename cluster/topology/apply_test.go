package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// made returns a topology with nodes a, b and c in incarnation 1 and the given shard 0.
func made(t testing.TB, row Shard) *Topology {
	t.Helper()
	topo, errs := (*Topology)(nil).Apply(1, Command{[]Op{{Kind: Create, Cluster: "c", Shards: 16, Replicas: 2, Epoch: 5, Nodes: []Node{
		{ID: "c", Incarnation: 1, Store: "C"}, {ID: "a", Incarnation: 1, Store: "A"}, {ID: "b", Incarnation: 1, Store: "B"}}}}})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if row.Epoch > 0 {
		topo.Shards[0] = row
	}
	if err := topo.Check(); err != nil {
		t.Fatal(err)
	}
	return topo
}

func ids(s string) []NodeID {
	if s == "" {
		return nil
	}
	var out []NodeID
	for _, id := range strings.Split(s, ",") {
		out = append(out, NodeID(id))
	}
	return out
}

// Each op on a row: the row afterwards, or why the op is refused.
func TestOpsOnAShard(t *testing.T) {
	row := func(epoch, emptySince uint64, primary NodeID, isr, learners string) Shard {
		return Shard{Epoch: epoch, EmptySince: emptySince, Primary: primary, ISR: ids(isr), Learners: ids(learners)}
	}
	for _, tc := range []struct {
		name string
		was  Shard
		op   Op
		want Shard
		err  error
	}{
		{"promote a copy", row(7, 5, "", "a", ""), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 1}, row(8, 5, "a", "a", ""), nil},
		{"promote, others leave the ISR", row(7, 5, "", "a,b,c", ""), Op{Kind: Promote, Epoch: 7, Node: "b", Incarnation: 1, Members: ids("c,b")}, row(8, 5, "b", "c,b", ""), nil},
		{"promote in place of another", row(7, 5, "a", "a,b", "c"), Op{Kind: Promote, Epoch: 7, Node: "b", Incarnation: 1}, row(8, 5, "b", "b", "c"), nil},
		{"promote the primary", row(7, 5, "a", "a,b", ""), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 1, Members: ids("a,b")}, Shard{}, ErrStale},
		{"promote the primary with a smaller ISR", row(7, 5, "a", "a,b", ""), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 1}, row(8, 5, "a", "a", ""), nil},
		{"promote in an earlier epoch", row(7, 5, "", "a", ""), Op{Kind: Promote, Epoch: 6, Node: "a", Incarnation: 1}, Shard{}, ErrStale},
		{"promote in a later epoch", row(7, 5, "", "a", ""), Op{Kind: Promote, Epoch: 8, Node: "a", Incarnation: 1}, Shard{}, ErrStale},
		{"promote another incarnation", row(7, 5, "", "a", ""), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 2}, Shard{}, ErrStale},
		{"promote without an incarnation", row(7, 5, "", "a", ""), Op{Kind: Promote, Epoch: 7, Node: "a"}, Shard{}, ErrStale},
		{"promote a node outside the ISR", row(7, 5, "", "a", "b"), Op{Kind: Promote, Epoch: 7, Node: "b", Incarnation: 1}, Shard{}, ErrRefused},
		{"promote with a larger ISR", row(7, 5, "", "a", "b"), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 1, Members: ids("a,b")}, Shard{}, ErrRefused},
		{"promote with an ISR without the node", row(7, 5, "", "a,b", ""), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 1, Members: ids("b")}, Shard{}, ErrRefused},
		{"promote with a duplicate", row(7, 5, "", "a,b", ""), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 1, Members: ids("a,a")}, Shard{}, ErrRefused},
		{"promote a non-member", row(7, 5, "", "a", ""), Op{Kind: Promote, Epoch: 7, Node: "z"}, Shard{}, ErrUnknownNode},
		{"promote empty", row(7, 5, "", "", "b"), Op{Kind: Promote, Epoch: 7, Node: "a", Incarnation: 1, Empty: true}, row(8, 8, "a", "a", ""), nil},
		{"promote empty where there is a copy", row(7, 5, "", "a", ""), Op{Kind: Promote, Epoch: 7, Node: "b", Incarnation: 1, Empty: true}, Shard{}, ErrRefused},

		{"resign with another copy", row(7, 5, "a", "a,b", ""), Op{Kind: Resign, Epoch: 7, Node: "a"}, row(8, 5, "", "b", ""), nil},
		{"resign with the last copy", row(7, 5, "a", "a", ""), Op{Kind: Resign, Epoch: 7, Node: "a"}, row(8, 5, "", "a", ""), nil},
		{"resign for another", row(7, 5, "a", "a,b", ""), Op{Kind: Resign, Epoch: 7, Node: "b"}, Shard{}, ErrRefused},
		{"resign without a primary", row(7, 5, "", "a", ""), Op{Kind: Resign, Epoch: 7}, Shard{}, ErrRefused},

		{"shrink", row(7, 5, "a", "a,b,c", ""), Op{Kind: ShrinkISR, Epoch: 7, Node: "b"}, row(8, 5, "a", "a,c", ""), nil},
		{"shrink by the primary", row(7, 5, "a", "a,b", ""), Op{Kind: ShrinkISR, Epoch: 7, Node: "a"}, Shard{}, ErrRefused},
		{"shrink by a node outside the ISR", row(7, 5, "a", "a", "b"), Op{Kind: ShrinkISR, Epoch: 7, Node: "b"}, Shard{}, ErrRefused},
		{"shrink to nothing", row(7, 5, "", "a", ""), Op{Kind: ShrinkISR, Epoch: 7, Node: "a"}, Shard{}, ErrRefused},

		{"add a learner, in the same epoch", row(7, 5, "a", "a", ""), Op{Kind: AddLearner, Epoch: 7, Node: "b", Incarnation: 1}, row(7, 5, "a", "a", "b"), nil},
		{"add a learner again", row(7, 5, "a", "a", "b"), Op{Kind: AddLearner, Epoch: 7, Node: "b", Incarnation: 1}, row(7, 5, "a", "a", "b"), nil},
		{"add a node of the ISR as a learner", row(7, 5, "a", "a,b", ""), Op{Kind: AddLearner, Epoch: 7, Node: "b", Incarnation: 1}, Shard{}, ErrRefused},
		{"add an earlier process as a learner", row(7, 5, "a", "a", ""), Op{Kind: AddLearner, Epoch: 7, Node: "b", Incarnation: 0}, Shard{}, ErrStale},

		{"expand", row(7, 5, "a", "a", "b,c"), Op{Kind: ExpandISR, Epoch: 7, Node: "b", Incarnation: 1}, row(8, 5, "a", "a,b", "c"), nil},
		{"expand by a node that is not a learner", row(7, 5, "a", "a", "c"), Op{Kind: ExpandISR, Epoch: 7, Node: "b", Incarnation: 1}, Shard{}, ErrRefused},
		{"expand without a primary", row(7, 5, "", "a", "b"), Op{Kind: ExpandISR, Epoch: 7, Node: "b", Incarnation: 1}, Shard{}, ErrRefused},
		{"expand by another incarnation", row(7, 5, "a", "a", "b"), Op{Kind: ExpandISR, Epoch: 7, Node: "b", Incarnation: 2}, Shard{}, ErrStale},

		{"transfer", row(7, 5, "a", "a,b", "c"), Op{Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 1}, row(8, 5, "b", "a,b", "c"), nil},
		{"transfer to a node outside the ISR", row(7, 5, "a", "a", "b"), Op{Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 1}, Shard{}, ErrRefused},
		{"transfer to itself", row(7, 5, "a", "a,b", ""), Op{Kind: TransferPrimary, Epoch: 7, Node: "a", Incarnation: 1, Empty: true}, Shard{}, ErrStale},
		{"transfer without a primary", row(7, 5, "", "a,b", ""), Op{Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 1}, Shard{}, ErrRefused},
		{"transfer without a primary, empty", row(7, 5, "", "", ""), Op{Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 1, Empty: true}, Shard{}, ErrRefused},
		{"transfer empty", row(7, 5, "a", "a", "b,c"), Op{Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 1, Empty: true}, row(8, 8, "b", "b", ""), nil},
		{"transfer to an earlier process", row(7, 5, "a", "a,b", ""), Op{Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 0}, Shard{}, ErrStale},

		{"assign, in the same epoch", row(7, 5, "a", "a", ""), Op{Kind: Assign, Epoch: 7, Members: ids("c,b")}, Shard{Epoch: 7, EmptySince: 5, Primary: "a", ISR: ids("a"), Assigned: ids("c,b")}, nil},
		{"assign to a non-member", row(7, 5, "a", "a", ""), Op{Kind: Assign, Epoch: 7, Members: ids("c,z")}, Shard{}, ErrUnknownNode},
		{"assign with a duplicate", row(7, 5, "a", "a", ""), Op{Kind: Assign, Epoch: 7, Members: ids("c,c")}, Shard{}, ErrRefused},
		{"assign in an earlier epoch", row(7, 5, "a", "a", ""), Op{Kind: Assign, Epoch: 6, Members: ids("c")}, Shard{}, ErrStale},
		{"a missing shard", row(7, 5, "a", "a", ""), Op{Kind: Resign, Shard: 16, Epoch: 7, Node: "a"}, Shard{}, ErrUnknownShard},
		{"a negative shard", row(7, 5, "a", "a", ""), Op{Kind: Resign, Shard: -1, Epoch: 7, Node: "a"}, Shard{}, ErrUnknownShard},
		{"an unknown kind of op", row(7, 5, "a", "a", ""), Op{Kind: "dance", Epoch: 7}, Shard{}, ErrRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			topo := made(t, tc.was)
			is, errs := topo.Apply(2, Command{[]Op{tc.op}})
			if err := errors.Join(is.Check(), CheckStep(topo, is)); err != nil {
				t.Fatal(err)
			}
			if is.Index != 2 || topo.Index != 1 || !reflect.DeepEqual(topo.Shards[0], tc.was) {
				t.Fatalf("index %d; the topology before is at %d, %+v", is.Index, topo.Index, topo.Shards[0])
			}
			if tc.err != nil {
				if !errors.Is(errs[0], tc.err) || !reflect.DeepEqual(is.Shards, topo.Shards) {
					t.Fatalf("error %v, want %v; row %+v", errs[0], tc.err, is.Shards[0])
				}
				return
			}
			if got := is.Shards[0]; errs[0] != nil || !got.equal(tc.want) {
				t.Fatalf("error %v, row %+v, want %+v", errs[0], got, tc.want)
			}
		})
	}
}

func TestTransferNeverGoesToWhoIsLeaving(t *testing.T) {
	topo := made(t, Shard{Epoch: 7, Primary: "a", ISR: ids("a,b")})
	_, errs := topo.Apply(2, Command{[]Op{{Kind: NodeLeave, Node: "b"}, {Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 1}, {Kind: TransferPrimary, Epoch: 7, Node: "b", Incarnation: 1, Empty: true}}})
	if errs[0] != nil || !errors.Is(errs[1], ErrRefused) || !errors.Is(errs[2], ErrRefused) {
		t.Fatal(errs)
	}
}

func TestOpsOnTheCluster(t *testing.T) {
	good := Op{Kind: Create, Cluster: "c", Shards: 16, Replicas: 1, Epoch: 1, Nodes: []Node{{ID: "a"}}}
	with := func(change func(*Op)) Op { op := good; change(&op); return op }
	topo := made(t, Shard{})
	holding, _ := made(t, Shard{Epoch: 7, ISR: ids("a")}).Apply(1, Command{[]Op{{Kind: NodeLeave, Node: "a"}, {Kind: NodeLeave, Node: "b"}}})
	gone, _ := topo.Apply(1, Command{[]Op{{Kind: NodeForget, Node: "b"}}})
	for _, tc := range []struct {
		name string
		on   *Topology
		op   Op
		err  error
	}{
		{"create", nil, good, nil},
		{"create again", topo, good, ErrExists},
		{"create without an id", nil, with(func(o *Op) { o.Cluster = "" }), ErrRefused},
		{"create without nodes", nil, with(func(o *Op) { o.Nodes = nil }), ErrRefused},
		{"create with a node twice", nil, with(func(o *Op) { o.Nodes = []Node{{ID: "a"}, {ID: "b"}, {ID: "a"}} }), ErrRefused},
		{"create with a node without an id", nil, with(func(o *Op) { o.Nodes = []Node{{}} }), ErrRefused},
		{"create in epoch 0", nil, with(func(o *Op) { o.Epoch = 0 }), ErrRefused},
		{"create in an epoch near overflow", nil, with(func(o *Op) { o.Epoch = 1 << 63 }), ErrRefused},
		{"create with 17 shards", nil, with(func(o *Op) { o.Shards = 17 }), ErrRefused},
		{"create for the folder of a non-member", nil, with(func(o *Op) { o.Node = "b" }), ErrUnknownNode},
		{"join before the cluster exists", nil, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a"}}}, ErrNoCluster},
		{"a new node", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "aa"}}}, nil},
		{"a restart", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 2, Store: "A"}}}, nil},
		{"an earlier incarnation", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 0, Store: "A"}}}, ErrStale},
		{"the same incarnation again", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 1, Store: "A"}}}, nil},
		{"another folder without a restart", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 1, Store: "B"}}}, ErrRefused},
		{"two nodes at once", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "x"}, {ID: "y"}}}, ErrRefused},
		{"a node without an id", topo, Op{Kind: NodeJoin, Nodes: []Node{{}}}, ErrRefused},
		{"a non-member leaves", topo, Op{Kind: NodeLeave, Node: "z"}, ErrUnknownNode},
		{"a non-member is forgotten", topo, Op{Kind: NodeForget, Node: "z"}, ErrUnknownNode},
		{"a late join of a forgotten node", gone, Op{Kind: NodeJoin, Nodes: []Node{{ID: "b", Incarnation: 1, Store: "B"}}}, ErrStale},
		{"a restart of a forgotten node", gone, Op{Kind: NodeJoin, Nodes: []Node{{ID: "b", Incarnation: 2, Store: "B"}}}, nil},
		{"an earlier incarnation is forgotten", topo, Op{Kind: NodeForget, Node: "a", Incarnation: 7}, ErrStale},
		{"a node that is not leaving is forgotten as empty", topo, Op{Kind: NodeForget, Node: "a", Incarnation: 1, Empty: true}, ErrStale},
		{"a leaving node with a copy is forgotten as empty", holding, Op{Kind: NodeForget, Node: "a", Incarnation: 1, Empty: true}, ErrStale},
		{"a leaving node without a copy is forgotten as empty", holding, Op{Kind: NodeForget, Node: "b", Incarnation: 1, Empty: true}, nil},
		{"a setting", topo, Op{Kind: ConfigSet, Name: "x", Value: "y"}, nil},
		{"a setting without a name", topo, Op{Kind: ConfigSet}, ErrRefused},
		{"a setting before the cluster exists", nil, Op{Kind: ConfigSet, Name: "x", Value: "y"}, ErrNoCluster},
		{"a setting is reset", topo, Op{Kind: ConfigReset, Name: "x"}, nil},
		{"a setting without a name is reset", topo, Op{Kind: ConfigReset}, ErrRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is, errs := tc.on.Apply(2, Command{[]Op{tc.op}})
			if !errors.Is(errs[0], tc.err) || is.Index != 2 {
				t.Fatalf("error %v, want %v; index %d", errs[0], tc.err, is.Index)
			}
			if err := is.Check(); err != nil {
				t.Fatal(err)
			}
		})
	}
	one, _ := (*Topology)(nil).Apply(1, Command{[]Op{good}})
	if _, errs := one.Apply(2, Command{[]Op{{Kind: NodeForget, Node: "a"}}}); !errors.Is(errs[0], ErrRefused) {
		t.Errorf("forgetting the last node: %v", errs[0])
	}
}

// A data folder with a new store id keeps its copies if the join names the old id; otherwise it is another folder and has none.
func TestANewStoreKeepsItsCopiesByItsOldName(t *testing.T) {
	for _, row := range []Shard{
		{Epoch: 9, EmptySince: 7, Primary: "a", ISR: ids("a,b"), Learners: ids("c")},
		{Epoch: 9, EmptySince: 7, Primary: "b", ISR: ids("a,b")},
		{Epoch: 9, EmptySince: 7, ISR: ids("a")},
	} {
		for _, tc := range []struct {
			stores []string
			keeps  bool
		}{{nil, false}, {[]string{"B"}, false}, {[]string{"A"}, true}, {[]string{"B", "A"}, true}} {
			topo := made(t, row)
			is, errs := topo.Apply(2, Command{[]Op{{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 2, Store: "X"}}, Stores: tc.stores}}})
			if err := errors.Join(errs[0], is.Check(), CheckStep(topo, is)); err != nil {
				t.Fatalf("%+v by %v: %v", row, tc.stores, err)
			}
			got := is.Shards[0]
			if slices.Contains(got.ISR, "a") != tc.keeps || got.Primary == "a" || got.Epoch <= 9 || got.EmptySince != 7 || !reflect.DeepEqual(got.Learners, row.Learners) {
				t.Errorf("%+v by %v has become %+v", row, tc.stores, got)
			}
		}
	}
}

func TestApplySharesWhatDoesNotChange(t *testing.T) {
	topo := made(t, Shard{})
	is, _ := topo.Apply(2, Command{[]Op{{Kind: ConfigSet, Name: "x", Value: "y"}, {Kind: Promote, Epoch: 1, Node: "a", Incarnation: 1}}})
	if &is.Shards[0] != &topo.Shards[0] || &is.Nodes[0] != &topo.Nodes[0] || len(topo.Settings) > 0 || is.Settings["x"] != "y" {
		t.Error("a setting copies rows or nodes, or changes the topology before")
	}
	if Diff(topo, is) != nil || len(DiffNodes(topo, is)) > 0 {
		t.Error("Diff finds what did not change")
	}
	reset, _ := is.Apply(3, Command{[]Op{{Kind: ConfigReset, Name: "x"}}})
	if is.Settings["x"] != "y" || is.SetAt["x"] != 2 || len(reset.Settings) > 0 || reset.SetAt["x"] != 3 {
		t.Errorf("after a setting was reset: %v of %v; before: %v of %v", reset.Settings, reset.SetAt, is.Settings, is.SetAt)
	}
}

func TestDiff(t *testing.T) {
	topo := made(t, Shard{})
	if got := Diff(nil, topo); len(got) != 16 || got[3].Shard != 3 || got[3].Is.Epoch != 5 || len(DiffNodes(nil, topo)) != 3 {
		t.Errorf("from nothing: %v", got)
	}
	is, _ := topo.Apply(2, Command{[]Op{{Kind: Promote, Shard: 9, Epoch: 5, Node: "a", Incarnation: 1, Empty: true}, {Kind: NodeForget, Node: "b"}, {Kind: NodeJoin, Nodes: []Node{{ID: "d"}}}, {Kind: NodeLeave, Node: "c"}}})
	if got := Diff(topo, is); len(got) != 1 || got[0].Shard != 9 || got[0].Was.Epoch != 5 || got[0].Is.Primary != "a" {
		t.Errorf("Diff = %+v", got)
	}
	var got []string
	for _, c := range DiffNodes(topo, is) {
		got = append(got, fmt.Sprintf("%s>%s%s", c.Was.ID, c.Is.ID, c.Is.State))
	}
	if want := []string{"b>", "c>cleaving", ">d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("DiffNodes = %v, want %v", got, want)
	}
}

// Every command of a client does these lookups.
func TestNodeIsFoundWithoutAllocating(t *testing.T) {
	nodes := someNodes(1, 100, 0)
	sorted := &Topology{Nodes: append([]Node(nil), nodes...)}
	sortNodes(sorted.Nodes)
	for _, topo := range []*Topology{sorted, {Nodes: nodes}} {
		for _, n := range nodes {
			if got, ok := topo.Node(n.ID); !ok || got.ID != n.ID {
				t.Fatalf("Node(%s) = %v, %v", n.ID, got, ok)
			}
		}
		if _, ok := topo.Node("zz"); ok {
			t.Fatal("a stranger is found")
		}
	}
	id := nodes[rand.IntN(100)].ID
	if n := testing.AllocsPerRun(100, func() { sorted.Node(id) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
