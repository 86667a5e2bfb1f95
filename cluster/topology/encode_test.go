package topology

import (
	"errors"
	"testing"
)

func TestTopologyComesBackFromItsBytes(t *testing.T) {
	topo := made(t, Shard{Epoch: 9, EmptySince: 7, Primary: "a", ISR: ids("a,b"), Assigned: ids("c"), Learners: ids("c")})
	topo, _ = topo.Apply(5, Command{[]Op{{Kind: ConfigSet, Name: "x", Value: "y"}, {Kind: ConfigReset, Name: "z"}, {Kind: NodeLeave, Node: "b"}}})
	b, err := topo.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil || !same(got, topo) {
		t.Fatalf("%v: %s", err, b)
	}
	if empty, err := Decode([]byte("{}")); err != nil || empty.Cluster != "" {
		t.Fatalf("before there is a cluster: %v", err)
	}
}

// Each of these has one property that no history of commands can produce.
func TestDamagedTopologiesAreRefused(t *testing.T) {
	for name, damage := range map[string]func(*Topology){
		"too few shards":              func(x *Topology) { x.Shards = x.Shards[:3] },
		"no nodes":                    func(x *Topology) { x.Nodes = nil },
		"no cluster":                  func(x *Topology) { x.Cluster = "" },
		"unsorted nodes":              func(x *Topology) { x.Nodes[0], x.Nodes[1] = x.Nodes[1], x.Nodes[0] },
		"a node twice":                func(x *Topology) { x.Nodes[1] = x.Nodes[0] },
		"a node in an unknown state":  func(x *Topology) { x.Nodes[1].State = "happy" },
		"a forgotten member":          func(x *Topology) { x.Forgotten = map[NodeID]uint64{"a": 1} },
		"epoch 0":                     func(x *Topology) { x.Shards[0].Epoch, x.Shards[0].EmptySince = 0, 0 },
		"empty since a future epoch":  func(x *Topology) { x.Shards[0].EmptySince = 100 },
		"a primary outside the ISR":   func(x *Topology) { x.Shards[0].ISR = ids("b") },
		"a copy of a non-member":      func(x *Topology) { x.Shards[0].ISR = ids("a,z") },
		"a copy twice":                func(x *Topology) { x.Shards[0].ISR = ids("a,a") },
		"a learner in the ISR":        func(x *Topology) { x.Shards[0].Learners = ids("b") },
		"assigned to a non-member":    func(x *Topology) { x.Shards[0].Assigned = ids("z") },
		"no replicas wanted":          func(x *Topology) { x.Replicas = 0 },
		"a setting without SetAt":     func(x *Topology) { x.Settings = map[string]string{"x": "y"} },
		"a setting without a name":    func(x *Topology) { x.SetAt = map[string]uint64{"": 1} },
		"a setting set in the future": func(x *Topology) { x.SetAt = map[string]uint64{"x": 100} },
		"an epoch near overflow":      func(x *Topology) { x.Shards[0].Epoch = 1<<64 - 1 },
	} {
		topo := made(t, Shard{Epoch: 9, EmptySince: 7, Primary: "a", ISR: ids("a,b")})
		damage(topo)
		b, err := topo.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Decode([]byte("{")); err == nil {
		t.Error("half a snapshot: accepted")
	}
	if _, err := DecodeCommand([]byte("[]")); err == nil {
		t.Error("an invalid command was accepted")
	}
}

func TestImpossibleStepsAreFound(t *testing.T) {
	for name, step := range map[string]func(*Topology){
		"the index stays":                  func(x *Topology) { x.Index = 1 },
		"another cluster":                  func(x *Topology) { x.Cluster = "other" },
		"an epoch goes down":               func(x *Topology) { x.Shards[0].Epoch = 8 },
		"two primaries in one epoch":       func(x *Topology) { x.Shards[0].Primary = "b" },
		"two ISRs in one epoch":            func(x *Topology) { x.Shards[0].ISR = ids("a") },
		"empty again within one epoch":     func(x *Topology) { x.Shards[0].EmptySince = 9 },
		"empty since an epoch long past":   func(x *Topology) { x.Shards[0].EmptySince, x.Shards[0].Epoch = 8, 10 },
		"an earlier incarnation of a node": func(x *Topology) { x.Nodes[2].Incarnation = 0 },
		"a restart keeps its primaries":    func(x *Topology) { x.Nodes[0].Incarnation = 2 },
		"a setting changes without SetAt":  func(x *Topology) { x.Settings["x"] = "z" },
		"a setting goes without SetAt":     func(x *Topology) { delete(x.Settings, "x") },
		"a setting was never set":          func(x *Topology) { delete(x.Settings, "x"); delete(x.SetAt, "x") },
		"a setting was set before":         func(x *Topology) { x.SetAt["y"] = 1 },
		"a setting was set by another":     func(x *Topology) { x.SetAt["x"] = 0 },
		"an empty folder keeps its copies": func(x *Topology) { x.Nodes[1].Incarnation, x.Nodes[1].Store = 2, "other" },
	} {
		was := made(t, Shard{Epoch: 9, EmptySince: 7, Primary: "a", ISR: ids("a,b")})
		is := made(t, Shard{Epoch: 9, EmptySince: 7, Primary: "a", ISR: ids("a,b")})
		is.Index = 2
		for _, topo := range []*Topology{was, is} {
			topo.Settings, topo.SetAt = map[string]string{"x": "y"}, map[string]uint64{"x": 1}
		}
		if err := CheckStep(was, is); err != nil {
			t.Fatal(err)
		}
		step(is)
		if CheckStep(was, is) == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

// Whatever the log contains: no panic, a valid topology, and the same one on every node.
func FuzzApply(f *testing.F) {
	for _, s := range []string{
		`{"ops":[{"op":"node-join","nodes":[{"id":"d","incarnation":1}]},{"op":"node-forget","node":"a"},{"op":"node-leave","node":"b"}]}`,
		`{"ops":[{"op":"promote","shard":1,"epoch":5,"node":"a","incarnation":1,"empty":true},{"op":"transfer-primary","shard":1,"epoch":6,"node":"b","incarnation":1,"empty":true}]}`,
		`{"ops":[{"op":"add-learner","epoch":9,"node":"c","incarnation":1},{"op":"expand-isr","epoch":9,"node":"c","incarnation":1},{"op":"shrink-isr","epoch":10,"node":"b"},{"op":"resign","epoch":11,"node":"a"}]}`,
		`{"ops":[{"op":"node-join","nodes":[{"id":"a","incarnation":9,"store":"new"}]},{"op":"assign","epoch":10,"members":["a","b"]},{"op":"config-set","name":"x"}]}`,
		`{"ops":[{"op":"create","cluster":"x","shards":16,"epoch":1,"nodes":[{"id":"q"}]}]}`,
		`{"ops":[{"op":"config-set","name":"x","value":"y"},{"op":"config-reset","name":"x"},{"op":"config-reset","name":"z"}]}`,
		`{"ops":[{"op":"resign","shard":-1},{"op":"dance"},{}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			return
		}
		for _, topo := range []*Topology{{}, made(t, Shard{Epoch: 9, EmptySince: 7, Primary: "a", ISR: ids("a,b"), Learners: ids("c")})} {
			before, _ := topo.Encode()
			is, errs := topo.Apply(topo.Index+1, c)
			again, _ := topo.Apply(topo.Index+1, c)
			after, _ := topo.Encode()
			if err := errors.Join(is.Check(), CheckStep(topo, is)); err != nil {
				t.Fatal(err)
			}
			if len(errs) != len(c.Ops) || !same(is, again) || string(before) != string(after) {
				t.Fatal("another answer, or another topology before")
			}
			encoded, _ := is.Encode()
			if back, err := Decode(encoded); err != nil || !same(back, is) {
				t.Fatal(err)
			}
			is.Plan(View{})
		}
	})
}
