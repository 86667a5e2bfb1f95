package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func withUsers(t *testing.T) *Topology {
	t.Helper()
	topo, errs := (*Topology)(nil).Apply(1, Command{[]Op{{Kind: Create, Cluster: "c", Shards: MinShards, Epoch: 1, Format: LatestFormat, Nodes: []Node{{ID: "a", Incarnation: 1}}}}})
	if errs[0] != nil {
		t.Fatal(errs)
	}
	return topo
}

func TestUsers(t *testing.T) {
	t.Parallel()
	topo, index := withUsers(t), uint64(1)
	apply := func(want error, ops ...Op) {
		t.Helper()
		index++
		next, errs := topo.Apply(index, Command{ops})
		if err := errors.Join(errs...); !errors.Is(err, want) || want == nil && err != nil {
			t.Fatalf("%+v: %v, want %v", ops, err, want)
		}
		if err := errors.Join(next.Check(), CheckStep(topo, next)); err != nil {
			t.Fatal(err)
		}
		if want != nil && fmt.Sprint(next.Users) != fmt.Sprint(topo.Users) {
			t.Fatalf("a refused op changed the users from %v to %v", topo.Users, next.Users)
		}
		topo = next
	}
	set := func(name, rules string, base uint64) Op {
		return Op{Kind: UserSet, Name: name, Value: rules, Base: base}
	}
	apply(nil, set("u", "on", 0))
	apply(ErrStale, set("u", "off", 0)) // another one has set it meanwhile
	apply(nil, set("u", "off", 2))
	apply(ErrStale, set("u", "on", 2))
	apply(ErrStale, Op{Kind: UserDelete, Name: "u", Base: 2})
	apply(ErrRefused, Op{Kind: UserDelete, Name: "v"})
	apply(ErrRefused, set("", "on", 0))
	apply(ErrRefused, set(strings.Repeat("x", MaxUserName+1), "on", 0))
	apply(ErrRefused, set("large", strings.Repeat("x", MaxUsersBytes), 0))
	if u := topo.Users["u"]; u != (User{"off", 4}) || len(topo.Users) != 1 {
		t.Errorf("%v", topo.Users)
	}
	encoded, err := topo.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Decode(encoded); err != nil || fmt.Sprint(again.Users) != fmt.Sprint(topo.Users) {
		t.Errorf("decoded as %v, %v", again, err)
	}
	if recovered := topo.Recovered(100, RecoveryGap); recovered.Users["u"] != topo.Users["u"] {
		t.Errorf("recovered with %v", recovered.Users)
	}
	apply(nil, Op{Kind: UserDelete, Name: "u", Base: 4})
	for i := range MaxUsers {
		apply(nil, set(fmt.Sprint("u", i), "on", 0))
	}
	apply(ErrRefused, set("more", "on", 0))
}

// Programs that know no users take no part in a topology with users: it has none before all know them.
func TestUsersNeedTheirFormat(t *testing.T) {
	t.Parallel()
	topo := withUsers(t)
	topo.Format = Format2
	next, errs := topo.Apply(2, Command{[]Op{{Kind: UserSet, Name: "u", Value: "on"}}})
	if !errors.Is(errs[0], ErrRefused) || len(next.Users) != 0 {
		t.Errorf("%v, %v", errs, next.Users)
	}
	next, errs = topo.Apply(2, Command{[]Op{{Kind: SetFormat, Format: Format3}, {Kind: UserSet, Name: "u", Value: "on"}}})
	if err := errors.Join(errs...); err != nil || next.Users["u"].Rules != "on" {
		t.Errorf("%v, %v", err, next.Users)
	}
	next.Format = Format2
	if next.Check() == nil {
		t.Error("users in a format that has none pass the check")
	}
	for _, bad := range []map[string]User{{"u": {"on", 0}}, {"u": {"on", 9}}, {"": {"on", 1}}} {
		wrong := *topo
		wrong.Format, wrong.Users = Format3, bad
		if wrong.Check() == nil {
			t.Errorf("%v pass the check", bad)
		}
	}
	was, is := *next, *next
	was.Format, is.Format, is.Index = Format3, Format3, 5
	for _, changed := range []map[string]User{{"u": {"off", 2}}, {"u": {"off", 1}}, {"u": {"on", 2}, "v": {"on", 2}}} {
		is.Users = changed
		if CheckStep(&was, &is) == nil {
			t.Errorf("a step from %v to %v passes", was.Users, changed)
		}
	}
}

// The format rises to the latest one that all nodes know, not to the first one when one of them knows no later.
func TestFormatOfMixedVersions(t *testing.T) {
	t.Parallel()
	topo := withUsers(t)
	topo.Nodes = []Node{{ID: "a"}, {ID: "b"}}
	for _, test := range []struct{ a, b, want int }{{3, 3, 3}, {3, 2, 2}, {2, 3, 2}, {3, 1, 1}, {3, 0, 1}, {4, 5, 3}} {
		v := View{Format: LatestFormat, Nodes: map[NodeID]Liveness{"a": {Alive: true, Format: test.a}, "b": {Alive: true, Format: test.b}}}
		if got := nextFormat(topo, v); got != test.want {
			t.Errorf("nodes that know %d and %d: format %d, want %d", test.a, test.b, got, test.want)
		}
	}
	v := View{Format: LatestFormat, Nodes: map[NodeID]Liveness{"a": {Alive: true, Format: 3}}}
	if got := nextFormat(topo, v); got != Format1 {
		t.Errorf("with a node that is down: format %d", got)
	}
}
