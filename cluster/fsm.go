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
	fail    func(error)           // ends the node
	failed  atomic.Pointer[error] // why the state machine has stopped; nil while it goes on
}

func newFSM(publish func(*topology.Topology)) *fsm {
	f := &fsm{publish: publish, fail: func(error) {}}
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
	if err := f.failed.Load(); err != nil {
		return applied{err: *err}
	}
	command, err := topology.DecodeCommand(entry.Data)
	if err != nil { // all nodes refuse it in the same way
		return applied{err: err}
	}
	next, errs := f.current.Load().Apply(entry.Index, command)
	for _, err := range errs {
		if errors.Is(err, topology.ErrFormat) {
			return applied{err: f.stop(fmt.Errorf("cannot apply entry %d of raft's log: %w", entry.Index, err))}
		}
	}
	f.set(next)
	return applied{errs: errs}
}

// stop ends the node and applies nothing any more: in a format that this program does not know, it
// would decide differently from the other nodes. The topology stays as it was before.
func (f *fsm) stop(err error) error {
	if f.failed.CompareAndSwap(nil, &err) {
		f.fail(err)
	}
	return *f.failed.Load()
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
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.failed.Load(); err != nil { // the topology lacks entries that the snapshot would replace
		return nil, *err
	}
	return snapshot{f.current.Load()}, nil
}

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
	if errors.Is(err, topology.ErrFormat) {
		return f.stop(err)
	}
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
