package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// fullStable is a store of term and vote on a disk that is full.
type fullStable struct {
	*raft.InmemStore
	asked *atomic.Bool
}

// closings counts how often it is closed.
type closings struct{ atomic.Int32 }

func (c *closings) Close() error {
	c.Add(1)
	return nil
}

func (s fullStable) SetUint64([]byte, uint64) error {
	s.asked.Store(true)
	return errors.New("no space left on device")
}

// A node whose raft cannot start, because the disk refuses its term, can be closed.
func TestCloseWhileRaftCannotStart(t *testing.T) {
	t.Parallel()
	asked := new(atomic.Bool)
	config := testConfig(t, "a", 0)
	config.RaftStores = func() RaftStores {
		full := fullStable{raft.NewInmemStore(), asked}
		return RaftStores{Logs: full, Stable: full, Snapshots: raft.NewInmemSnapshotStore()}
	}
	n := newNetwork().start(t, config)
	eventually(t, "raft writes its term", asked.Load)
	closed := make(chan error, 1)
	go func() { closed <- n.Close(context.Background()) }()
	if err := within(t, closed); err != nil {
		t.Error(err)
	}
}

// A start of raft that its disk holds up closes its stores when it ends.
func TestUnfinishedStartClosesItsStores(t *testing.T) {
	t.Parallel()
	s, kept, asked, closed := newTestStreamLayer(t, &pipes{}), memoryStores(nil), new(atomic.Bool), new(closings)
	kept.stable, kept.file = fullStable{raft.NewInmemStore(), asked}, closed
	go openConsensus(s.local, kept, []server{{ID: s.local, Voter: true}}, s, newFSM(func(*topology.Topology) {}), testConfig(t, "a", 0).Timing.withDefaults(), testLog(t, "a"))
	eventually(t, "raft writes its term", asked.Load)
	s.Close()
	eventually(t, "the stores are closed", func() bool { return closed.Load() == 1 })
}

// Raft uses no pipeline, in which a follower can be stuck.
func TestRaftHasNoPipeline(t *testing.T) {
	t.Parallel()
	s := newTestStreamLayer(t, &pipes{})
	a, err := openConsensus(s.local, memoryStores(nil), []server{{ID: s.local, Voter: true}}, s, newFSM(func(*topology.Topology) {}), testConfig(t, "a", 0).Timing.withDefaults(), testLog(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.transport.AppendEntriesPipeline("b", "b"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("a pipeline to a follower: %v", err)
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
}
