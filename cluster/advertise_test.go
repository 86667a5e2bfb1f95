package cluster

import (
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func TestElsewhere(t *testing.T) {
	const first = "192.168.0.5"
	for name, test := range map[string]struct {
		known   string
		present []string
		want    string // "" for none
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
		"off its network, with a bridge for containers":    {"10.0.0.1", []string{"127.0.0.1", "172.17.0.1"}, "172.17.0.1"},
		"back on the network that it was started on":       {"172.17.0.1", []string{"127.0.0.1", "172.17.0.1", first}, first},
		"back on the network that it was started on alone": {"172.17.0.1", []string{"127.0.0.1", first}, first},
		"on the network that it was started on":            {first, []string{"10.0.0.1", first}, ""},
	} {
		var present []net.IP
		for _, a := range test.present {
			present = append(present, net.ParseIP(a))
		}
		got := ""
		if ip := betterAddress(net.ParseIP(test.known), net.ParseIP(first), present); ip != nil {
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
		if err := readyError(t, n); err != nil {
			t.Fatal(err)
		}
	}
	was := memberName(a.self.ID, a.self.Incarnation, 0)
	for moves := 1; moves <= 2; moves++ {
		if err := a.gossip.move(net.IPv4(127, 0, 0, 1)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "b sees a under its new name alone", func() bool {
			i, _ := b.members.get(a.self.ID)
			return i.alive && i.moves == moves && !slices.ContainsFunc(b.gossip.current().Members(), func(n *memberlist.Node) bool { return n.Name == was })
		})
		eventually(t, "a sees b again", func() bool { return len(a.members.alive()) == 1 })
		was = memberName(a.self.ID, a.self.Incarnation, moves)
	}
}

// A node that was cut off has suspected others when it moves. What its old gossip comes to say of them later does not count: its new one sees them.
func TestMoveForgetsSuspicion(t *testing.T) {
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 2))
	b := nw.start(t, testConfig(t, "b", 2, a.seed()))
	for _, n := range []*testNode{a, b} {
		if err := readyError(t, n); err != nil {
			t.Fatal(err)
		}
	}
	old, heard := a.gossip.current(), listEvents{a.gossip, a.gossip.moves}
	if err := a.gossip.move(net.IPv4(127, 0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees b again", func() bool { return len(a.members.alive()) == 1 })
	for _, n := range old.Members() {
		heard.NotifyLeave(n) // its suspicion has run out
	}
	if i, _ := a.members.get(b.self.ID); !i.alive {
		t.Error("a believes what its old gossip has said of b")
	}
}

// What is told late of an old address does not hide the new one.
func TestSightsKeepTheNewestAddress(t *testing.T) {
	s := newMembers("self", 1, testLog(t, "self"))
	at := func(moves int, alive bool, bus string) {
		s.observe(incarnation{meta: meta{node: "n", incarnation: 7}, moves: moves, alive: alive, bus: bus})
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

// A node that cannot listen where it has moved to tries again, also when it is back where it was.
func TestMoveThatFailsIsTriedAgain(t *testing.T) {
	nw := newNetwork()
	config := testConfig(t, "a", 2)
	config.Timing.Rejoin = time.Hour
	a := nw.start(t, config)
	b := nw.start(t, testConfig(t, "b", 2, a.seed()))
	eventually(t, "they see each other", func() bool { return len(a.members.alive()) == 1 && len(b.members.alive()) == 1 })
	list := a.gossip.current()
	host, port := a.gossip.address()
	if err := list.Shutdown(); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.gossip.move(net.ParseIP(host)); err == nil || a.gossip.current() != nil {
		t.Fatalf("it listens where somebody else does: %v", err)
	}
	if len(a.members.alive()) > 0 {
		t.Error("it sees others, and hears nobody")
	}
	listEvents{a.gossip, 0}.NotifyJoin(list.Members()[0])
	listEvents{a.gossip, 0}.NotifyJoin(b.gossip.current().LocalNode())
	if len(a.members.alive()) > 0 {
		t.Error("what gossip tells that is over is heard")
	}
	if _, err := a.gossip.updateAdvertisedFrom(nil); err == nil {
		t.Error("it has moved to a port that is taken")
	}
	taken.Close()
	if moved, err := a.gossip.updateAdvertisedFrom(nil); err != nil || !moved || a.gossip.current() == nil {
		t.Fatalf("moved %v: %v", moved, err)
	}
	if moved, err := a.gossip.updateAdvertisedFrom(nil); err != nil || moved {
		t.Errorf("it moves without need: %v %v", moved, err)
	}
	eventually(t, "the others see it again", func() bool {
		a.gossip.join([]string{b.seed()})
		i, _ := b.members.get(a.self.ID)
		return i.alive && i.moves > 0 && len(a.members.alive()) == 1
	})
}
