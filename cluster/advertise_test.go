package cluster

import (
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/ndring/ndring/internal/slowtest"
)

func TestBetterAddress(t *testing.T) {
	const first = "192.168.0.5"
	for name, test := range map[string]struct {
		known   string
		present []string
		want    string // "" for none
	}{
		"unchanged":                   {"172.18.0.2", []string{"127.0.0.1", "172.18.0.2"}, ""},
		"unchanged, beside a new one": {"172.18.0.2", []string{"127.0.0.1", "10.0.0.1", "172.18.0.2"}, ""},
		"another one":                 {"172.18.0.2", []string{"127.0.0.1", "172.18.0.7"}, "172.18.0.7"},
		"private before public":       {"172.18.0.2", []string{"127.0.0.1", "8.8.8.8", "10.0.0.1"}, "10.0.0.1"},
		"off every network":           {"172.18.0.2", []string{"127.0.0.1"}, ""},
		"no address":                  {"172.18.0.2", nil, ""},
		"only link-local":             {"172.18.0.2", []string{"127.0.0.1", "169.254.1.1"}, ""},
		"started off every network":   {"127.0.0.1", []string{"127.0.0.1", "172.18.0.7"}, "172.18.0.7"},
		"IPv6":                        {"fd00::2", []string{"::1", "fd00::3", "fe80::1"}, "fd00::3"},
		"off its network, with a bridge for containers": {"10.0.0.1", []string{"127.0.0.1", "172.17.0.1"}, "172.17.0.1"},
		"back on its first network":                     {"172.17.0.1", []string{"127.0.0.1", "172.17.0.1", first}, first},
		"back on its first network alone":               {"172.17.0.1", []string{"127.0.0.1", first}, first},
		"on its first network":                          {first, []string{"10.0.0.1", first}, ""},
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

// Others know a moved node at its new address, even after gossip has given up the old one.
func TestMembersSeeAMovedNodeAtItsNewAddress(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
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
		eventually(t, "b sees a only under its new name", func() bool {
			i, _ := b.members.get(a.self.ID)
			return i.alive && i.moves == moves && !slices.ContainsFunc(b.gossip.current().Members(), func(n *memberlist.Node) bool { return n.Name == was })
		})
		eventually(t, "a sees b again", func() bool { return len(a.members.alive()) == 1 })
		was = memberName(a.self.ID, a.self.Incarnation, moves)
	}
}

// A node that was cut off suspects others when it moves. Late reports of the old list are ignored:
// the new list sees them alive.
func TestMoveDiscardsSuspicions(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 2))
	b := nw.start(t, testConfig(t, "b", 2, a.seed()))
	for _, n := range []*testNode{a, b} {
		if err := readyError(t, n); err != nil {
			t.Fatal(err)
		}
	}
	old, reports := a.gossip.current(), listEvents{a.gossip, a.gossip.moves}
	if err := a.gossip.move(net.IPv4(127, 0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees b again", func() bool { return len(a.members.alive()) == 1 })
	for _, n := range old.Members() {
		reports.NotifyLeave(n) // the suspicion times out
	}
	if i, _ := a.members.get(b.self.ID); !i.alive {
		t.Error("a believes the old list's report about b")
	}
}

// Late reports about an old address do not hide the new one.
func TestMembersKeepTheNewestAddress(t *testing.T) {
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
		t.Error("a node that died at its new address counts as alive")
	}
}

// A node that cannot listen at its new address retries, even when its old address is back.
func TestFailedMoveIsRetried(t *testing.T) {
	t.Parallel()
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
		t.Fatalf("it listens on a port that is taken: %v", err)
	}
	if len(a.members.alive()) > 0 {
		t.Error("it sees others while gossip is not running")
	}
	listEvents{a.gossip, 0}.NotifyJoin(list.Members()[0])
	listEvents{a.gossip, 0}.NotifyJoin(b.gossip.current().LocalNode())
	if len(a.members.alive()) > 0 {
		t.Error("reports of a list that has ended are recorded")
	}
	if _, err := a.gossip.updateAdvertisedFrom(nil); err == nil {
		t.Error("it moved to a port that is taken")
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
