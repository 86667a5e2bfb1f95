package cluster

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// logEntry returns an entry of raft's log.
func logEntry(t testing.TB, index uint64, ops ...topology.Op) *raft.Log {
	t.Helper()
	b, err := topology.Command{Ops: ops}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Data: b}
}

// createOp creates a cluster of one node.
func createOp() topology.Op {
	return topology.Op{
		Kind: topology.Create, Cluster: "c", Shards: 16, Epoch: 1, Format: topology.LatestFormat,
		Nodes: []topology.Node{{ID: "a", Store: "s", Incarnation: 1}},
	}
}

// A program that guessed what a later format means would decide differently from the other nodes.
func TestEntryOfALaterFormatStopsTheNode(t *testing.T) {
	t.Parallel()
	var failures []error
	published := 0
	f := newFSM(func(*topology.Topology) { published++ })
	f.fail = func(err error) { failures = append(failures, err) }
	if a := f.Apply(logEntry(t, 1, createOp())).(applied); a.err != nil || a.errs[0] != nil {
		t.Fatal(a)
	}
	before := f.current.Load()
	later := topology.Op{Kind: topology.SetFormat, Format: topology.LatestFormat + 1}
	set := topology.Op{Kind: topology.ConfigSet, Name: "x", Value: "y"}
	for i, e := range []*raft.Log{logEntry(t, 2, set, later), logEntry(t, 3, set)} {
		if a := f.Apply(e).(applied); !errors.Is(a.err, topology.ErrFormat) {
			t.Errorf("entry %d: %v, want %v", i+2, a, topology.ErrFormat)
		}
	}
	if f.current.Load() != before || published != 1 {
		t.Error("the topology changed")
	}
	if _, err := f.Snapshot(); !errors.Is(err, topology.ErrFormat) {
		t.Errorf("a snapshot would hide the entries: %v", err)
	}
	if len(failures) != 1 || !errors.Is(failures[0], topology.ErrFormat) {
		t.Errorf("the node must stop once, with the reason: %v", failures)
	}
}

func TestSnapshotOfALaterFormatStopsTheNode(t *testing.T) {
	t.Parallel()
	var failed error
	f := newFSM(func(*topology.Topology) { t.Error("published") })
	f.fail = func(err error) { failed = err }
	err := f.Restore(io.NopCloser(bytes.NewReader([]byte(`{"cluster":"c","index":7,"format":99}`))))
	if !errors.Is(err, topology.ErrFormat) || !errors.Is(failed, topology.ErrFormat) {
		t.Errorf("%v; stopped with %v", err, failed)
	}
	if err := f.Restore(io.NopCloser(bytes.NewReader([]byte("x")))); err == nil || errors.Is(err, topology.ErrFormat) {
		t.Errorf("a damaged snapshot: %v", err)
	}
}

// The whole node stops, and does not start again with this program.
func TestNodeOfALaterFormatDoesNotStart(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 1, onDisk)
	later := topology.Op{Kind: topology.SetFormat, Format: topology.LatestFormat + 1}
	if _, err := nodes[0].consensus.Load().commitOps(later); !errors.Is(err, topology.ErrFormat) {
		t.Errorf("the proposer gets %v", err)
	}
	eventually(t, "the host is told to stop", func() bool { return nodes[0].failed.Load() != nil })
	nodes[0].kill()
	again := nw.start(t, configs[0])
	if err := readyError(t, again); !errors.Is(err, topology.ErrFormat) {
		t.Errorf("it starts with %v", err)
	}
}

// A node's join says what its folder knows, and the folder may forget it once it is decided.
func TestJoinSaysWhatTheFolderKnows(t *testing.T) {
	t.Parallel()
	nw, nodes, configs := threeServing(t, nil)
	at := follower(t, nodes)
	for _, tc := range []struct {
		name                             string
		unclean, otherLock, relinquished bool
	}{
		{name: "clean", relinquished: true},
		{name: "after a loss of power", unclean: true, relinquished: true},
		{name: "on another lock", otherLock: true},
	} {
		had := served(nodes[at], nodes[at])
		nodes[at].kill()
		config := configs[at]
		config.Start.Unclean = tc.unclean
		nw.moved = tc.otherLock
		nodes[at] = nw.startSilent(t, config)
		ready(t, nodes[at])
		leader := leaderOf(t, nodes...)
		eventually(t, "the leader knows the start", func() bool { return nodes[at].self.in(leader.Topology()) })
		if n := nodes[at].joined.Load(); n != 1 {
			t.Errorf("%s: Joined was called %d times", tc.name, n)
		}
		rows := 0
		for _, row := range leader.Topology().Shards {
			if row.Primary != "" {
				continue
			}
			rows++
			if len(row.Unclean) == 1 != tc.unclean || row.Relinquished != tc.relinquished {
				t.Errorf("%s: %+v", tc.name, row)
			}
		}
		if rows != had {
			t.Errorf("%s: %d rows, want %d", tc.name, rows, had)
		}
		nodes[at].silent.Store(false)
		eventually(t, "it serves its shards", func() bool { return served(nodes[at], nodes[at]) == had })
	}
}

// What a node says about its log and its syncs is kept in its row, and follows the setting.
func TestRowSaysHowTheNodeWrites(t *testing.T) {
	t.Parallel()
	always := make(chan bool, 1)
	always <- false
	_, nodes, _ := threeServing(t, func(c *Config) {
		c.Always = func() bool { v := <-always; always <- v; return v }
	})
	all := func(want bool) func() bool {
		return func() bool {
			for _, n := range nodes[0].Topology().Nodes {
				if n.Always != want || !n.Log {
					return false
				}
			}
			return true
		}
	}
	if !all(false)() {
		t.Errorf("%+v", nodes[0].Topology().Nodes)
	}
	before := nodes[0].Topology().Shards
	<-always
	always <- true
	eventually(t, "the rows follow the setting", all(true))
	for i, row := range nodes[0].Topology().Shards {
		if row.Epoch != before[i].Epoch {
			t.Errorf("shard %d changes its epoch for that: %d, %d", i, before[i].Epoch, row.Epoch)
		}
	}
}
