package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// fsm is raft's state machine: the topology, which package topology changes.
type fsm struct {
	current atomic.Pointer[topology.Topology]
	publish func(*topology.Topology)
}

func newFSM(publish func(*topology.Topology)) *fsm {
	f := &fsm{publish: publish}
	f.current.Store(&topology.Topology{})
	return f
}

// recovery returns the index at which the topology's last recovery began; 0 if it was never recovered.
func (f *fsm) recovery() uint64 { return f.current.Load().Recovery }

// applied is the result of Apply: an error for each operation, nil for one that took effect.
type applied struct {
	errs []error
	err  error // no operation took effect
}

// Apply implements raft.FSM.
func (f *fsm) Apply(entry *raft.Log) any {
	command, err := topology.DecodeCommand(entry.Data)
	if err != nil { // written by a later version: all nodes of this version refuse it in the same way
		return applied{err: err}
	}
	next, errs := f.current.Load().Apply(entry.Index, command)
	f.set(next)
	return applied{errs: errs}
}

// await waits until this node has applied the log up to an index that is committed.
func (f *fsm) await(ctx context.Context, index uint64) error {
	if f.current.Load().Index >= index {
		return nil
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for f.current.Load().Index < index {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the leader has decided, but this node has not received the decision: %w", ErrUncertain, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

func (f *fsm) set(next *topology.Topology) {
	f.current.Store(next)
	f.publish(next)
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.current.Load()}, nil }

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	if err != nil {
		return err
	}
	if len(b) > maxSnapshot {
		return errors.New("the snapshot of the topology is too large")
	}
	t, err := topology.Decode(b)
	if err != nil {
		return fmt.Errorf("the snapshot of the topology is damaged: %w", err)
	}
	f.set(t)
	return nil
}

const maxSnapshot = 256 << 20 // bytes; 16384 shards with 5 copies each take 20 MiB

// snapshot is a topology that raft writes to disk.
type snapshot struct{ *topology.Topology }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	b, err := s.Encode()
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}
