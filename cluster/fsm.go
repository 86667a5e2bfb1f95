package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// machine is raft's state machine: the topology, which package topology changes.
type machine struct {
	current atomic.Pointer[topology.Topology]
	publish func(*topology.Topology)
}

func newMachine(publish func(*topology.Topology)) *machine {
	m := &machine{publish: publish}
	m.current.Store(&topology.Topology{})
	return m
}

// recovery returns with which recovery of the cluster the topology began; 0 for none.
func (m *machine) recovery() uint64 { return m.current.Load().Recovery }

// applied is what Apply answers: an error for each operation, nil for one that was done.
type applied struct {
	errs []error
	err  error // nothing was done
}

// Apply implements raft.FSM.
func (m *machine) Apply(entry *raft.Log) any {
	command, err := topology.DecodeCommand(entry.Data)
	if err != nil { // written by a version that this one does not know: all nodes of this version refuse it alike
		return applied{err: err}
	}
	next, errs := m.current.Load().Apply(entry.Index, command)
	m.set(next)
	return applied{errs: errs}
}

func (m *machine) set(next *topology.Topology) {
	m.current.Store(next)
	m.publish(next)
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return snapshot{m.current.Load()}, nil }

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
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
	m.set(t)
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
