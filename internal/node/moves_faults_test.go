//go:build faults

package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// leave removes a node's address.
func (n *network) leave(i, at int) {
	n.t.Helper()
	ip(n.t, fmt.Sprintf("-n %s addr del %s/32 dev %sv%d", n.node(i), n.address(at), n.name, i))
	ip(n.t, fmt.Sprintf("-n %s route del %s/32 dev h%d", n.name, n.address(at), i))
}

// settle gives a node an address.
func (n *network) settle(i, at int) {
	n.t.Helper()
	dev := fmt.Sprintf("%sv%d", n.name, i)
	ip(n.t, fmt.Sprintf("-n %s addr add %s/32 dev %s", n.node(i), n.address(at), dev))
	ip(n.t, fmt.Sprintf("-n %s route replace %s.254/32 dev %s", n.node(i), n.net, dev))
	ip(n.t, fmt.Sprintf("-n %s route replace %s.0/24 via %s.254 src %s", n.node(i), n.net, n.net, n.address(at)))
	ip(n.t, fmt.Sprintf("-n %s route replace %s/32 dev h%d", n.name, n.address(at), i))
}

// TestPartitionNewAddresses gives running nodes new addresses: one of them, all at once, and one that meanwhile is on an
// unreachable network.
func TestPartitionNewAddresses(t *testing.T) {
	redis.SetLogger(&silent{})
	const count = 3
	nw := newNetwork(t, count)
	at := []int{0, 1, 2, 3}
	addrs := func() (all []string) {
		for _, host := range at[1:] {
			all = append(all, nw.address(host)+":7379")
		}
		return all
	}
	var seeds []string
	for i := 1; i <= 30; i++ { // a name would lead to the node wherever it is
		if i <= count || i > 20 || i > 5 && i < 10 {
			seeds = append(seeds, nw.address(i))
		}
	}
	procs := nw.startNodes(count, seeds, func(int) string { return "0.0.0.0" })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	client := func() *redis.ClusterClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs(), MaxRedirects: 6, DialTimeout: time.Second})
	}
	awaitAgreement(ctx, t, procs, addrs())
	c := client()
	for i := range 200 {
		if err := c.Do(ctx, "NP.SET", fmt.Sprint("k", i), npyOf(uint64(i), 100)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	agree := func(what string) {
		t.Helper()
		began := time.Now()
		for _, addr := range addrs() {
			awaitHosts(ctx, t, addr, addrs())
		}
		awaitAgreement(ctx, t, procs, addrs())
		t.Logf("%s: healed after %v", what, time.Since(began).Round(time.Millisecond))
		c := client()
		defer c.Close()
		for i := range 200 {
			if got, err := c.Do(ctx, "NP.GET", fmt.Sprint("k", i)).Text(); err != nil || got != npyOf(uint64(i), 100) {
				t.Fatalf("%s: k%d: %v", what, i, err)
			}
		}
	}
	move := func(nodes []int, by int) {
		for _, i := range nodes {
			nw.leave(i, at[i])
		}
		for _, i := range nodes {
			at[i] += by
			nw.settle(i, at[i])
		}
		for _, i := range nodes {
			awaitLog(t, procs[i], fmt.Sprintf(`msg="advertised address changed" was=%s is=%s`, nw.address(at[i]-by), nw.address(at[i])))
		}
	}
	move([]int{2}, 20)
	agree("one has moved")
	move([]int{1, 2, 3}, 5)
	agree("all have moved")

	ip(t, "-n "+nw.node(1)+" link add bridge type veth peer name port")
	ip(t, "-n "+nw.node(1)+" addr add 172.17.0.1/16 dev bridge")
	ip(t, "-n "+nw.node(1)+" link set bridge up")
	ip(t, "-n "+nw.node(1)+" link set port up")
	nw.leave(1, at[1])
	awaitLog(t, procs[1], "is=172.17.0.1")
	at[1] = 1 // its first address
	nw.settle(1, at[1])
	agree("one was on an unreachable network")
	for i, p := range procs[1:] {
		if p.hasExited() {
			t.Errorf("n%d has ended:\n%s", i+1, p.logged())
		}
	}
}

// awaitHosts waits until a node gives clients exactly these addresses.
func awaitHosts(ctx context.Context, t *testing.T, addr string, want []string) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Second})
	defer c.Close()
	var told []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		slots, _ := c.ClusterSlots(ctx).Result()
		told = nil
		for _, s := range slots {
			told = append(told, s.Nodes[0].Addr)
		}
		slices.Sort(told)
		if told = slices.Compact(told); slices.Equal(told, slices.Sorted(slices.Values(want))) {
			return
		}
	}
	t.Fatalf("%s tells clients of %v, not of %v", addr, told, want)
}

// awaitLog waits until a process has logged something.
func awaitLog(t *testing.T, p *process, what string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.logged(), what); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never said: %s\n%s", what, p.logged())
		}
	}
}
