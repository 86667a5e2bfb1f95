//go:build faults

package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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

// drop makes the hub drop all packets from one node to another, or pass them again.
func (n *network) drop(from, to int, yes bool) {
	n.t.Helper()
	what := "del"
	if yes {
		what = "add"
	}
	ip(n.t, fmt.Sprintf("-n %s rule %s from %s to %s blackhole", n.name, what, n.address(from), n.address(to)))
}

// partition is a way to partition five nodes: which packets are dropped, and which nodes can still decide.
type partition struct {
	name     string
	drop     func(from, to int) bool
	majority []int
	lasts    time.Duration
}

// startNodes starts a node in each namespace, listening on the address that bind returns for it, and waits until they
// have logged their addresses.
func (n *network) startNodes(count int, seeds []string, bind func(node int) string) []*process {
	n.t.Helper()
	path, err := built()
	if err != nil {
		n.t.Fatal(err)
	}
	procs := make([]*process, count+1)
	var group sync.WaitGroup
	for i := 1; i <= count; i++ {
		group.Go(func() {
			cmd := exec.Command("ip", "netns", "exec", n.node(i), path, "--bind", bind(i), "--port", "7379", "--protected-mode", "no", "--insecure", "--dir", filepath.Join(n.t.TempDir(), "d"),
				"--shards", "64", "--node-id", fmt.Sprintf("n%d", i), "--bootstrap-expect", fmt.Sprint(count), "--join", strings.Join(seeds, ","))
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			procs[i] = startCommand(n.t, cmd)
		})
	}
	group.Wait()
	if n.t.Failed() {
		n.t.FailNow()
	}
	return procs
}

// TestPartitionKillsNothing partitions real nodes for more than ten seconds and heals the partition: they find each
// other without help, agree on one topology, and have every key.
func TestPartitionKillsNothing(t *testing.T) {
	redis.SetLogger(&silent{})
	const count = 5
	nw := newNetwork(t, count)
	var seeds, addrs []string
	for i := 1; i <= count; i++ {
		seeds, addrs = append(seeds, nw.address(i)), append(addrs, nw.address(i)+":7379")
	}
	procs := nw.startNodes(count, seeds, nw.address)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 6, DialTimeout: time.Second})
	defer c.Close()
	awaitAgreement(ctx, t, procs, addrs)
	for i := range 500 {
		if err := c.Do(ctx, "NP.SET", fmt.Sprint("k", i), npyOf(uint64(i), 100)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	split := func(a ...int) func(int, int) bool {
		return func(from, to int) bool { return slices.Contains(a, from) != slices.Contains(a, to) }
	}
	for _, p := range []partition{
		{"one is cut off", split(3), []int{1, 2, 4, 5}, 12 * time.Second},
		{"two and three", split(1, 2), []int{3, 4, 5}, 40 * time.Second}, // gossip probes dead nodes for 30 s
		{"one is not heard", func(from, to int) bool { return from == 4 }, []int{1, 2, 3, 5}, 12 * time.Second},
		{"one receives nothing", func(from, to int) bool { return to == 5 }, []int{1, 2, 3, 4}, 12 * time.Second},
		{"two do not hear each other", func(from, to int) bool { return min(from, to) == 1 && max(from, to) == 2 }, nil, 12 * time.Second},
	} {
		cut := func(yes bool) {
			for from := 1; from <= count; from++ {
				for to := 1; to <= count; to++ {
					if from != to && p.drop(from, to) {
						nw.drop(from, to, yes)
					}
				}
			}
		}
		cut(true)
		began := time.Now()
		for len(p.majority) > 0 && !quorum(ctx, addrs, p.majority) {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%s: the majority does not agree on a leader within 30 s", p.name)
			}
			time.Sleep(50 * time.Millisecond)
		}
		decided := time.Since(began)
		time.Sleep(p.lasts - time.Since(began))
		if len(p.majority) > 0 && !quorum(ctx, addrs, p.majority) {
			t.Fatalf("%s: the majority has lost its leader", p.name)
		}
		for i := range 500 { // all nodes are alive and serve their shards
			if got, err := c.Do(ctx, "NP.GET", fmt.Sprint("k", i)).Text(); err == nil && got != npyOf(uint64(i), 100) {
				t.Fatalf("%s: k%d is wrong", p.name, i)
			}
		}
		cut(false)
		began = time.Now()
		awaitAgreement(ctx, t, procs, addrs)
		t.Logf("%s: the rest had a leader after %v; healed after %v", p.name, decided.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		for i := range 500 {
			if got, err := c.Do(ctx, "NP.GET", fmt.Sprint("k", i)).Text(); err != nil || got != npyOf(uint64(i), 100) {
				t.Fatalf("%s: k%d afterwards: %v", p.name, i, err)
			}
		}
	}
	for i, p := range procs[1:] {
		if p.hasExited() {
			t.Errorf("n%d has ended:\n%s", i+1, p.logged())
		}
	}
}

// quorum reports whether the nodes follow one leader among them.
func quorum(ctx context.Context, addrs []string, nodes []int) bool {
	leader := ""
	for _, i := range nodes {
		info := clusterInfo(ctx, addrs[i-1])
		if info["cluster_leader"] == "" || leader != "" && info["cluster_leader"] != leader {
			return false
		}
		leader = info["cluster_leader"]
	}
	for _, i := range nodes {
		if clusterInfo(ctx, addrs[i-1])["cluster_my_id"] == leader {
			return true
		}
	}
	return false
}

func clusterInfo(ctx context.Context, addr string) map[string]string {
	c := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, MaxRetries: -1})
	defer c.Close()
	info := map[string]string{}
	text, _ := c.ClusterInfo(ctx).Result()
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	info["cluster_my_id"], _ = c.Do(ctx, "CLUSTER", "MYID").Text()
	return info
}

// view returns what a node tells clients about the cluster; an error while it sees something missing.
func view(ctx context.Context, addr string, count int) (string, error) {
	c := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, MaxRetries: -1})
	defer c.Close()
	info := clusterInfo(ctx, addr)
	if info["cluster_state"] != "ok" || info["cluster_slots_ok"] != "16384" || info["cluster_known_nodes"] != fmt.Sprint(count) || info["cluster_leader"] == "" {
		return "", fmt.Errorf("%s: %v", addr, info)
	}
	nodes, err := c.ClusterNodes(ctx).Result()
	if err == nil && strings.Contains(nodes, "fail") {
		err = errors.New(nodes)
	}
	slots, failed := c.ClusterSlots(ctx).Result()
	var lines []string
	for _, s := range slots {
		lines = append(lines, fmt.Sprint(s.Start, s.End, s.Nodes[0].ID))
	}
	slices.Sort(lines)
	return info["cluster_leader"] + strings.Join(lines, ","), errors.Join(err, failed)
}

// awaitAgreement waits until all nodes see all others and give clients the same answers.
func awaitAgreement(ctx context.Context, t *testing.T, procs []*process, addrs []string) {
	t.Helper()
	var why error
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		seen := map[string]bool{}
		why = nil
		for _, addr := range addrs {
			text, err := view(ctx, addr, len(addrs))
			if err != nil {
				why = err
				break
			}
			seen[text] = true
		}
		if why == nil && len(seen) == 1 {
			return
		}
		if time.Now().After(deadline) {
			for i, p := range procs[1:] {
				log := p.logged()
				t.Logf("n%d:\n%s", i+1, log[max(0, len(log)-3000):])
			}
			t.Fatalf("the nodes do not agree within a minute: %v, %d views", why, len(seen))
		}
	}
}
