//go:build faults

package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// network is a hub with nodes around it, each in its own network namespace. The hub silently drops what a cut
// forbids, as a broken switch does.
type network struct {
	t    *testing.T
	name string // of the hub, and prefix of all others
	net  string // first three numbers of all addresses
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s (this test makes network namespaces, and must be run as root)", args, err, out)
	}
}

// newNetwork makes the hub, and a way to it for the test itself.
func newNetwork(t *testing.T, nodes int) *network {
	t.Helper()
	n := &network{t: t, name: fmt.Sprintf("nd%d%c", os.Getpid()%1_000_000, 'a'+networks.Add(1)%26), net: freeNet(t)} // namespaces of an earlier test may still exist
	n.space(n.name)
	ip(t, "netns exec "+n.name+" sysctl -qw net.ipv4.ip_forward=1")
	n.leg("", 250)
	for i := 1; i <= nodes; i++ {
		n.space(n.node(i))
		n.leg(n.node(i), i)
	}
	return n
}

var networks atomic.Int32

// freeNet returns the first three numbers of addresses to which this machine has no route.
func freeNet(t *testing.T) string {
	t.Helper()
	routes, err := exec.Command("ip", "-4", "route", "show", "table", "all").CombinedOutput()
	if err != nil {
		t.Fatalf("ip route: %v: %s", err, routes)
	}
	for {
		if net := fmt.Sprintf("10.%d.%d", 100+rand.IntN(100), rand.IntN(250)); !strings.Contains(string(routes), net+".") {
			return net
		}
	}
}

func (n *network) node(i int) string    { return fmt.Sprintf("%s-%d", n.name, i) }
func (n *network) address(i int) string { return fmt.Sprintf("%s.%d", n.net, i) }

// space makes a namespace, which is removed with the test, with everything in it.
func (n *network) space(name string) {
	n.t.Helper()
	ip(n.t, "netns add "+name)
	n.t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	ip(n.t, "-n "+name+" link set lo up")
}

// leg connects a namespace to the hub, or the test's own namespace if the name is empty.
func (n *network) leg(space string, i int) {
	n.t.Helper()
	in := ""
	if space != "" {
		in = "-n " + space + " "
	}
	near, far := fmt.Sprintf("%sv%d", n.name, i), fmt.Sprintf("h%d", i)
	ip(n.t, fmt.Sprintf("-n %s link add %s type veth peer name %s", n.name, far, near))
	if space == "" {
		ip(n.t, fmt.Sprintf("-n %s link set %s netns %d", n.name, near, os.Getpid()))
		n.t.Cleanup(func() { exec.Command("ip", "link", "del", near).Run() }) // the namespace at its other end is removed only when everything in it has ended
	} else {
		ip(n.t, fmt.Sprintf("-n %s link set %s netns %s", n.name, near, space))
	}
	ip(n.t, fmt.Sprintf("%saddr add %s/32 dev %s", in, n.address(i), near))
	ip(n.t, fmt.Sprintf("%slink set %s up", in, near))
	ip(n.t, fmt.Sprintf("%sroute add %s.254/32 dev %s", in, n.net, near))
	ip(n.t, fmt.Sprintf("%sroute add %s.0/24 via %s.254 src %s", in, n.net, n.net, n.address(i)))
	ip(n.t, fmt.Sprintf("-n %s addr add %s.254/32 dev %s", n.name, n.net, far))
	ip(n.t, fmt.Sprintf("-n %s link set %s up", n.name, far))
	ip(n.t, fmt.Sprintf("-n %s route add %s/32 dev %s", n.name, n.address(i), far))
}

// cut makes the hub drop packets between count nodes in the directions that are forbidden, or pass them again. All directions
// change at once, but for milliseconds. Node numbers begin with 1. The test itself still reaches all nodes.
func (n *network) cut(count int, forbidden func(from, to int) bool, yes bool) {
	n.t.Helper()
	what := "del"
	if yes {
		what = "add"
	}
	var rules strings.Builder
	for from := 1; from <= count; from++ {
		for to := 1; to <= count; to++ {
			if from != to && forbidden(from, to) {
				fmt.Fprintf(&rules, "rule %s from %s to %s blackhole\n", what, n.address(from), n.address(to))
			}
		}
	}
	cmd := exec.Command("ip", "-n", n.name, "-batch", "-")
	cmd.Stdin = strings.NewReader(rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("ip -batch: %v: %s", err, out)
	}
}
