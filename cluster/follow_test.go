package cluster

import (
	"net"
	"slices"
	"testing"

	"github.com/hashicorp/memberlist"
)

func TestElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		known   string
		present []string
		want    string
	}{
		"as it was":                   {"172.18.0.2", []string{"127.0.0.1", "172.18.0.2"}, ""},
		"as it was, beside a new one": {"172.18.0.2", []string{"127.0.0.1", "10.0.0.1", "172.18.0.2"}, ""},
		"another one":                 {"172.18.0.2", []string{"127.0.0.1", "172.18.0.7"}, "172.18.0.7"},
		"private before public":       {"172.18.0.2", []string{"127.0.0.1", "8.8.8.8", "10.0.0.1"}, "10.0.0.1"},
		"off every network":           {"172.18.0.2", []string{"127.0.0.1"}, ""},
		"none at all":                 {"172.18.0.2", nil, ""},
		"link-local alone":            {"172.18.0.2", []string{"127.0.0.1", "169.254.1.1"}, ""},
		"started off every network":   {"127.0.0.1", []string{"127.0.0.1", "172.18.0.7"}, "172.18.0.7"},
		"version 6":                   {"fd00::2", []string{"::1", "fd00::3", "fe80::1"}, "fd00::3"},
	} {
		var present []net.IP
		for _, a := range test.present {
			present = append(present, net.ParseIP(a))
		}
		got := ""
		if ip := elsewhere(net.ParseIP(test.known), present); ip != nil {
			got = ip.String()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// A node that has moved is known where it is now, also once the others have given up the address that it had.
func TestMoveIsFollowed(t *testing.T) {
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 2))
	b := nw.start(t, testConfig(t, "b", 2, a.seed()))
	for _, n := range []*testNode{a, b} {
		if err := n.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	was := memberName(a.self.ID, a.self.Incarnation, 0)
	for moves := 1; moves <= 2; moves++ {
		if err := a.gossip.move("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "b sees a under its new name alone", func() bool {
			i, _ := b.sights.get(a.self.ID)
			return i.alive && i.moves == moves && !slices.ContainsFunc(b.gossip.current().Members(), func(n *memberlist.Node) bool { return n.Name == was })
		})
		eventually(t, "a sees b again", func() bool { return len(a.sights.alive()) == 1 })
		was = memberName(a.self.ID, a.self.Incarnation, moves)
	}
}

// A node that was cut off has suspected others when it moves. What its old gossip comes to say of them later does not count: its new one sees them.
func TestMoveForgetsSuspicion(t *testing.T) {
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 2))
	b := nw.start(t, testConfig(t, "b", 2, a.seed()))
	for _, n := range []*testNode{a, b} {
		if err := n.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	old, heard := a.gossip.current(), a.gossip.ear
	if err := a.gossip.move("127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees b again", func() bool { return len(a.sights.alive()) == 1 })
	for _, n := range old.Members() {
		heard.NotifyLeave(n) // its suspicion has run out
	}
	if i, _ := a.sights.get(b.self.ID); !i.alive {
		t.Error("a believes what its old gossip has said of b")
	}
}

// What is told late of an old address does not hide the new one.
func TestSightsKeepTheNewestAddress(t *testing.T) {
	s := newSights("self", 1, testLog(t, "self"))
	at := func(moves int, alive bool, bus string) {
		s.note(instance{meta: meta{node: "n", incarnation: 7}, moves: moves, alive: alive, bus: bus})
	}
	at(0, true, "old")
	at(1, true, "new")
	at(0, false, "old")
	at(0, true, "old")
	if i, _ := s.get("n"); !i.alive || i.bus != "new" {
		t.Errorf("alive %v at %s, want alive at new", i.alive, i.bus)
	}
	at(1, false, "new")
	if i, _ := s.get("n"); i.alive {
		t.Error("a node that has gone from its new address counts as alive")
	}
}
