//go:build faults

package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
	clusterview "github.com/ndring/ndring/cluster/view"
	"github.com/ndring/ndring/internal/loadtest"
)

// versions is a cluster of processes of this version and of the one before, under load.
type versions struct {
	t      *testing.T
	before func() (string, error) // the program of the version before
	all    []*member              // that run
	seeds  string
	plain  loadtest.Load // through the client library, which repeats what fails
	many   loadtest.Histories
	end    context.CancelFunc
	ended  sync.WaitGroup
	began  time.Time

	mu       sync.Mutex // guards all below
	failures []error    // of attempts of plain
}

// openVersions starts nodes of the version before that bootstrap a cluster together, and the load.
func openVersions(t *testing.T, started int, names ...string) (v *versions, all []*member) {
	quiet()
	v = &versions{t: t, before: programBefore(t), began: time.Now()}
	all = gather(t, names...)
	v.all, v.seeds = slices.Clone(all[:started]), seedsOf(all...)
	for _, m := range all {
		m.program = v.before
	}
	for _, m := range v.all {
		v.start(m, "--bootstrap-expect", fmt.Sprint(started))
	}
	v.settled("all nodes are of the version before")
	v.load(all)
	t.Cleanup(v.stopLoad)
	return v, all
}

func (v *versions) start(m *member, args ...string) {
	v.t.Helper()
	m.start(append([]string{"--join", v.seeds, "--shards", "32", "--replicas", "2"}, args...)...)
}

// load begins to write and to read, through all nodes that there will be.
func (v *versions) load(all []*member) {
	seed := rand.Uint64()
	fmt.Sscan(os.Getenv("NDRING_VERSIONS_SEED"), &seed)
	v.t.Logf("seed %d", seed)
	var addrs []string
	for _, m := range all {
		addrs = append(addrs, m.client())
	}
	v.plain.Pause = 4 * time.Millisecond
	v.plain.Client = func(r *rand.Rand) *redis.ClusterClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addrs[r.IntN(3)], addrs[r.IntN(3)]}, MaxRedirects: 16, ReadTimeout: 20 * time.Second, DialerRetries: 1})
	}
	v.plain.Failed = func(err error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.failures = append(v.failures, err)
	}
	v.many.Addrs, v.many.Seed, v.many.Writers, v.many.Pause, v.many.EachNode = addrs, seed, 4, 4*time.Millisecond, true
	v.many.Folder = os.Getenv("NDRING_HISTORIES")
	ctx, cancel := context.WithCancel(context.Background())
	v.end = cancel
	for id := range 2 {
		v.ended.Go(func() { v.plain.Write(ctx, id, rand.New(rand.NewPCG(seed, uint64(10+id)))) })
		v.ended.Go(func() {
			if err := v.plain.Read(ctx, rand.New(rand.NewPCG(seed, uint64(20+id)))); err != nil {
				v.t.Error(err)
			}
		})
	}
	v.ended.Go(func() {
		if err := v.many.Run(ctx); err != nil {
			v.t.Error(err)
		}
	})
}

func (v *versions) stopLoad() {
	v.end()
	v.ended.Wait()
}

// verify ends the load and checks all that it has written and read.
func (v *versions) verify() {
	v.t.Helper()
	v.goesOn()
	v.stopLoad()
	c := clusterClient(v.t, v.all...)
	for _, err := range v.plain.Verify(v.t.Context(), c) {
		v.t.Errorf("at the end: %v", err)
	}
	if err := v.many.FinalReads(v.t.Context()); err != nil {
		v.t.Error(err)
	}
	report := v.many.Check()
	v.t.Logf("%d acknowledged writes, %d reads, %d tries failed; %s", v.plain.Acks.Load(), v.plain.Reads.Load(), v.plain.Tries.Load(), report.String())
	if err := report.Err(); err != nil {
		v.t.Error(err)
	}
	if report.Checked < 1000 || v.plain.Acks.Load() < 1000 || v.plain.Reads.Load() < 1000 {
		v.t.Error("there was hardly any load")
	}
	for _, m := range v.all {
		if n := m.told().Losses; n > 0 {
			v.t.Errorf("%s counts %d possible losses", m.name, n)
		}
	}
}

// goesOn waits until writes and reads have been answered since.
func (v *versions) goesOn() {
	v.t.Helper()
	writes, reads := v.plain.Acks.Load(), v.plain.Reads.Load()
	eventually(v.t, "the load goes on", v.all, func() string {
		if w, r := v.plain.Acks.Load()-writes, v.plain.Reads.Load()-reads; w < 20 || r < 20 {
			return fmt.Sprintf("%d writes, %d reads since", w, r)
		}
		return ""
	})
	v.manyGoOn()
}

// manyGoOn is goesOn for the load whose clients ask each node. After a kill the client library asks for ten seconds where it knows
// the shard was.
func (v *versions) manyGoOn() {
	v.t.Helper()
	before := v.answered()
	eventually(v.t, "the load goes on", v.all, func() string {
		if n := v.answered() - before; n < 100 {
			return fmt.Sprintf("%d operations since", n)
		}
		return ""
	})
}

func (v *versions) answered() int {
	report := v.many.Report()
	return report.Total().OK
}

func (v *versions) later(m *member) bool { return m.program == nil }

// become stops a node and starts another version on its folder. The clients notice nothing.
func (v *versions) become(m *member, program func() (string, error)) {
	v.t.Helper()
	v.mu.Lock()
	failed := len(v.failures)
	v.mu.Unlock()
	m.stop()
	v.goesOn() // the others serve what it had
	m.program = program
	v.start(m)
	v.settled(fmt.Sprintf("%s is replaced", m.name))
	v.goesOn()
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := len(v.failures); now > failed {
		v.t.Errorf("%d requests have failed while %s was replaced, the first with: %v", now-failed, m.name, v.failures[failed])
	}
}

// fails kills a node, waits until the others serve all that it had, and starts it again.
func (v *versions) fails(m *member) {
	v.t.Helper()
	v.down(m)
	v.start(m)
	v.settled(fmt.Sprintf("%s was killed", m.name))
}

// down kills a node, and waits until the others serve all that it had.
func (v *versions) down(m *member) {
	v.t.Helper()
	id := m.told().Self
	m.kill()
	eventually(v.t, "the others serve all slots", v.all, func() string {
		for _, other := range v.all {
			if other == m {
				continue
			}
			info := other.info()
			if got := info["cluster_slots_ok"] + " " + info["cluster_nodes_down_names"]; got != "16384 "+m.name {
				return other.name + ": " + got
			}
			if slices.ContainsFunc(other.told().Shards, func(s clusterview.Shard) bool { return slices.Contains(s.InSync, id) }) {
				return other.name + " knows a copy in sync on " + m.name
			}
		}
		return ""
	})
	serves(v.t, slices.DeleteFunc(slices.Clone(v.all), func(other *member) bool { return other == m })...)
	v.manyGoOn()
}

// settled waits until the nodes are one cluster whose copies are all in sync and where they are assigned, each serves what it
// should, and each knows the same topology, in the format that all of them know.
func (v *versions) settled(state string) {
	v.t.Helper()
	whole(v.t, v.all...)
	v.eachServes()
	atHome(v.t, v.all...)
	haveCopies(v.t, v.all...)
	v.agree()
	v.inFormat(v.format())
	v.t.Logf("%5.1f s: %s: %s", time.Since(v.began).Seconds(), state, v.names())
}

func (v *versions) names() string {
	var all []string
	for _, m := range v.all {
		version := "before"
		if v.later(m) {
			version = "this"
		}
		all = append(all, m.name+" "+version)
	}
	return strings.Join(all, ", ")
}

// mixed reports whether nodes of both versions run.
func (v *versions) mixed() bool {
	return slices.ContainsFunc(v.all, v.later) && slices.ContainsFunc(v.all, func(m *member) bool { return !v.later(m) })
}

// format returns the format that the topology should have.
func (v *versions) format() int {
	if slices.ContainsFunc(v.all, func(m *member) bool { return !v.later(m) }) {
		return formatBefore
	}
	return topology.LatestFormat
}

// inFormat waits until the nodes of this version, which show it, show a format of the topology. A later one is an error at once.
func (v *versions) inFormat(want int) {
	v.t.Helper()
	for _, m := range v.all {
		if !v.later(m) || m.hasExited() {
			continue
		}
		eventually(v.t, fmt.Sprintf("the topology has format %d", want), v.all, func() string {
			if got := m.told().Format; got < want {
				return fmt.Sprintf("%s shows format %d", m.name, got)
			} else if got > want {
				v.t.Fatalf("%s shows format %d, with %s", m.name, got, v.names())
			}
			return ""
		})
	}
}

// agree waits until all nodes show the same topology.
func (v *versions) agree() {
	v.t.Helper()
	eventually(v.t, "all nodes show the same topology", v.all, func() string {
		first := v.shared(v.all[0])
		for _, m := range v.all[1:] {
			if other := v.shared(m); !reflect.DeepEqual(first, other) {
				return fmt.Sprintf("%s shows %.3000s, and %s %.3000s", v.all[0].name, fmt.Sprint(first), m.name, fmt.Sprint(other))
			}
		}
		if len(first.Shards) == 0 {
			return "no shards"
		}
		return ""
	})
}

// shared returns what nodes of both versions show of a topology in the same way.
func (v *versions) shared(m *member) clusterview.Cluster {
	c := m.told()
	c.Self, c.Quorum, c.Waiting = "", false, "" // of the node that shows it
	for i := range c.Nodes {
		c.Nodes[i].Since = 0
	}
	c.Format = 0 // what the version before does not show
	for i := range c.Nodes {
		c.Nodes[i].Weight = 0
	}
	return c
}

// eachServes writes to each node a key that it serves, and reads it there and through the client library.
func (v *versions) eachServes() {
	v.t.Helper()
	c := clusterClient(v.t, v.all...)
	defer c.Close()
	for _, m := range v.all {
		npy := npyOf(rand.Uint64(), 3<<19) // it travels by itself, and its record by another connection
		var key string
		eventually(v.t, m.name+" serves what it should", v.all, func() (amiss string) {
			key, amiss = v.writeTo(m, npy)
			return amiss
		})
		if got := m.says("NP.GET", key); key != "" && got != npy {
			v.t.Errorf("%s has other bytes of %s", m.name, key)
		}
		if got, err := c.Do(v.t.Context(), "NP.GET", key).Text(); key != "" && (err != nil || got != npy) {
			v.t.Errorf("%s: the client library reads other bytes, %v", key, err)
		}
	}
}

// writeTo writes a key that a node serves. There is none, and the node redirects, if it joined under a leader of this version while
// nodes of both versions are members: such a leader replaces nodes that are gone and moves nothing else (docs/moves.md).
func (v *versions) writeTo(m *member, npy string) (key, amiss string) {
	told := m.told()
	if len(told.Shards) == 0 {
		return "", "it knows no shards"
	}
	idle := !slices.ContainsFunc(told.Shards, func(s clusterview.Shard) bool { return slices.Contains(s.Assigned, told.Self) })
	if idle && v.mixed() && v.ledByThis(told.Leader) {
		if reply := m.says("NP.SET", m.name, npy); !strings.HasPrefix(reply, "MOVED ") {
			return "", "it serves no shard, and replies " + reply
		}
		return "", ""
	}
	for n := range 10_000 {
		key = fmt.Sprint("of ", m.name, " ", n)
		if _, shard := told.Locate(key); told.Shards[shard].Primary == told.Self {
			return key, strings.TrimPrefix(m.says("NP.SET", key, npy), "OK")
		}
	}
	return "", "it serves no shard"
}

// ledByThis reports whether the leader is a node of this version.
func (v *versions) ledByThis(leader topology.NodeID) bool {
	return slices.ContainsFunc(v.all, func(m *member) bool { return v.later(m) && m.told().Self == leader })
}

// TestTwoVersionsRolling replaces the nodes of a cluster one after the other by this version, once back and on again, under a load
// whose histories are checked. In each mixed state a node of either version is killed. The clients see no more of a replacement
// than of a restart, and the topology gets a later format only when no node of the version before is left.
func TestTwoVersionsRolling(t *testing.T) {
	v, all := openVersions(t, 3, "n1", "n2", "n3")
	first, second, third := all[0], all[1], all[2]
	v.become(third, v.before) // a restart: no more may fail below
	v.become(first, nil)
	v.fails(second)
	v.fails(first)
	v.become(first, v.before)
	v.become(first, nil)
	v.become(second, nil)
	v.fails(third)
	v.fails(second)
	v.become(third, nil)
	v.fails(first)
	v.refusesTheWayBack(second)
	v.verify()
}

// refusesTheWayBack starts the version before on the folder of a node, once the topology has a format that it does not know. It
// says so and ends, and this version goes on with the folder.
func (v *versions) refusesTheWayBack(m *member) {
	v.t.Helper()
	if topology.LatestFormat == formatBefore {
		return
	}
	m.stop()
	m.program = v.before
	v.start(m)
	if code := m.awaitExit(v.t); code != exitFailure || !strings.Contains(m.logged(), "start a newer ndring") {
		v.t.Errorf("the version before ends with code %d:\n%s", code, m.logged())
	}
	m.program = nil
	v.start(m)
	v.settled(m.name + " is back")
}

// TestTwoVersionsJoin lets a node of this version join a cluster of the version before, and one of the version before join when all
// others that are alive are of this version, which is as far as a cluster of this version can have the format before.
func TestTwoVersionsJoin(t *testing.T) {
	v, all := openVersions(t, 3, "n1", "n2", "n3", "n4", "n5")
	third, fourth, fifth := all[2], all[3], all[4]
	join := func(m *member, program func() (string, error)) {
		m.program = program
		v.start(m)
		v.all = append(v.all, m)
	}
	join(fourth, nil)
	v.settled("n4 has joined")
	v.become(all[0], nil)
	v.become(all[1], nil)
	v.down(third)
	v.inFormat(formatBefore)
	join(fifth, v.before)
	eventually(t, "n5 has joined", v.all, func() string {
		for _, m := range v.all {
			if info := m.info(); m != third && (info["cluster_known_nodes"] != "5" || info["cluster_slots_ok"] != "16384") {
				return fmt.Sprint(m.name, " knows ", info["cluster_known_nodes"], " nodes and ", info["cluster_slots_ok"], " slots")
			}
		}
		return ""
	})
	v.inFormat(formatBefore)
	third.program = nil
	v.start(third)
	v.settled("n5 has joined, and n3 is of this version")
	v.become(fifth, nil)
	v.verify()
}

// TestTwoVersionsBootstrap lets nodes of both versions bootstrap a cluster together, whose topology has the format before.
func TestTwoVersionsBootstrap(t *testing.T) {
	for later := 1; later <= 2; later++ {
		t.Run(fmt.Sprint(later, " of this version"), func(t *testing.T) {
			v := &versions{t: t, before: programBefore(t), began: time.Now()}
			v.all = gather(t, "n1", "n2", "n3")
			v.seeds = seedsOf(v.all...)
			for i, m := range v.all {
				if i >= later {
					m.program = v.before
				}
				v.start(m, "--bootstrap-expect", "3")
			}
			v.settled("a new cluster")
			serves(t, v.all...)
		})
	}
}
