//go:build faults

package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	clusterview "github.com/ndring/ndring/cluster/view"
)

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
	ctx := t.Context()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 6, DialTimeout: time.Second})
	defer c.Close()
	awaitAgreement(ctx, t, procs, addrs)
	all := arraysCalled("k", 500)
	all.store(t, c)
	split := func(a ...int) func(int, int) bool {
		return func(from, to int) bool { return slices.Contains(a, from) != slices.Contains(a, to) }
	}
	copies := &copiesCluster{t: t, addrs: addrs, procs: procs[1:]}
	for _, p := range []partition{
		{"one is cut off", split(3), []int{1, 2, 4, 5}, 12 * time.Second},
		{"two and three", split(1, 2), []int{3, 4, 5}, 40 * time.Second}, // gossip probes dead nodes for 30 s
		{"one is not heard", func(from, to int) bool { return from == 4 }, []int{1, 2, 3, 5}, 12 * time.Second},
		{"one receives nothing", func(from, to int) bool { return to == 5 }, []int{1, 2, 3, 4}, 12 * time.Second},
		{"two do not hear each other", func(from, to int) bool { return min(from, to) == 1 && max(from, to) == 2 }, nil, 12 * time.Second},
	} {
		cut := func(yes bool) { nw.cut(count, p.drop, yes) }
		awaitHome(t, copies)
		cut(true)
		began := time.Now()
		awaitQuorum(ctx, t, p, addrs)
		decided := time.Since(began).Round(time.Millisecond)
		time.Sleep(p.lasts - time.Since(began))
		awaitQuorum(ctx, t, p, addrs)
		reads := awaitServed(ctx, t, p.name, addrs, all)
		cut(false)
		began = time.Now()
		awaitAgreement(ctx, t, procs, addrs)
		t.Logf("%s: the rest had a leader after %v; a read of all keys at all nodes took %v; healed after %v", p.name, decided, reads, time.Since(began).Round(time.Millisecond))
		for key, npy := range all {
			if got, err := c.Do(ctx, "NP.GET", key).Text(); err != nil || got != npy {
				t.Fatalf("%s: %q afterwards: %d bytes, %v", p.name, key, len(got), err)
			}
		}
	}
	for i, p := range procs[1:] {
		if p.hasExited() {
			t.Errorf("n%d has ended:\n%s", i+1, p.logged())
		}
	}
}

// awaitServed waits until some node serves each array, and returns how long that took. All nodes have clients during a partition. A
// shard whose copies are all on one side is served there, and a shard with a copy on the side of the majority is served by that one:
// the other node with a copy answers each read only after it has waited for its lease in vain. So the test asks each node for each
// key once, many at a time, and leaves it to no client library how often to repeat that.
func awaitServed(ctx context.Context, t *testing.T, name string, addrs []string, all arrays) time.Duration {
	t.Helper()
	began := time.Now()
	missing := slices.Collect(maps.Keys(all))
	for deadline := began.Add(time.Minute); len(missing) > 0; {
		var mu sync.Mutex // guards served and wrong
		served, wrong, errs := map[string]bool{}, []string{}, map[string]error{}
		var readers sync.WaitGroup
		for _, addr := range addrs {
			c := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Second, ReadTimeout: 5 * time.Second, MaxRetries: -1, PoolSize: 32})
			defer c.Close()
			for worker := range 32 {
				readers.Go(func() {
					for i := worker; i < len(missing); i += 32 {
						key := missing[i]
						got, err := c.Do(ctx, "NP.GET", key).Text()
						mu.Lock()
						switch {
						case err == nil && got == all[key]:
							served[key] = true
						case err == nil || errors.Is(err, redis.Nil):
							wrong = append(wrong, fmt.Sprintf("%s answers %q with %d bytes, %v", addr, key, len(got), err))
						default:
							errs[key] = errors.Join(errs[key], fmt.Errorf("%s: %w", addr, err))
						}
						mu.Unlock()
					}
				})
			}
		}
		readers.Wait()
		if len(wrong) > 0 {
			t.Fatalf("%s: %s", name, strings.Join(wrong, "\n"))
		}
		missing = slices.DeleteFunc(missing, func(key string) bool { return served[key] })
		if len(missing) > 0 && time.Now().After(deadline) {
			t.Fatalf("%s: no node serves %d keys: %q: %v\n%s", name, len(missing), missing[0], errs[missing[0]], rows(ctx, addrs, missing[0]))
		}
	}
	return time.Since(began).Round(time.Millisecond)
}

// rows returns what each node knows about the shard of a key.
func rows(ctx context.Context, addrs []string, key string) string {
	var b strings.Builder
	for _, addr := range addrs {
		c := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Second, Protocol: 2})
		text, err := c.Do(ctx, "CLUSTER", "TOPOLOGY").Text()
		c.Close()
		v, failed := clusterview.Decode([]byte(text))
		if err := errors.Join(err, failed); err != nil || len(v.Shards) == 0 {
			fmt.Fprintf(&b, "%s: %v\n", addr, err)
			continue
		}
		_, shard := v.Locate(key)
		s := v.Shards[shard]
		fmt.Fprintf(&b, "%s: shard %d in epoch %d, since %d with primary %s, ISR %v, unclean %v, learners %v, assigned %v\n", addr, shard, s.Epoch, s.LeaderEpoch,
			v.Label(s.Primary), v.Labels(s.InSync), v.Labels(s.Unclean), v.Labels(s.Learners), v.Labels(s.Assigned))
	}
	return b.String()
}

// awaitHome waits until each shard has two copies and is served where it is assigned: one whose only copy is cut off, or whose
// handover is proposed when its primary loses the leader, is not served until the network is healed.
func awaitHome(t *testing.T, copies *copiesCluster) {
	t.Helper()
	for deadline := time.Now().Add(clusterTime); ; time.Sleep(50 * time.Millisecond) {
		copies.awaitCopies()
		if !slices.ContainsFunc(copies.topology(0).Shards, func(s clusterview.Shard) bool { return s.Primary != s.Assigned[0] }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("shards are not served where they are assigned")
		}
	}
}

// awaitQuorum waits until the majority follows one leader among them.
func awaitQuorum(ctx context.Context, t *testing.T, p partition, addrs []string) {
	t.Helper()
	for began := time.Now(); len(p.majority) > 0 && !quorum(ctx, addrs, p.majority); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s: the majority does not agree on a leader within 30 s", p.name)
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

// slotsAt returns what a node tells clients about the cluster; an error while it sees something missing.
func slotsAt(ctx context.Context, addr string, count int) (string, error) {
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
			text, err := slotsAt(ctx, addr, len(addrs))
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
