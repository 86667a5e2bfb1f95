package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// raftFile holds raft's log, term and vote.
const raftFile = "raft.db"

// storeDir returns the folder of the raft state of one store.
func storeDir(dir, store string) string { return filepath.Join(dir, store) }

// stores hold raft's log, its term and vote, and its snapshots.
type stores struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	file      io.Closer // nil in memory
	path      string    // of the file
}

func (s *stores) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// RaftStores are where raft keeps its log, its term and vote, and its snapshots.
type RaftStores struct {
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
}

// newMemoryStores returns empty stores in memory.
func newMemoryStores() RaftStores {
	inmem := raft.NewInmemStore()
	return RaftStores{Logs: inmem, Stable: inmem, Snapshots: raft.NewInmemSnapshotStore()}
}

// memoryStores are the stores of a node without a folder of raft's files.
func memoryStores(open func() RaftStores) *stores {
	if open == nil {
		open = newMemoryStores
	}
	s := open()
	return &stores{logs: s.Logs, stable: s.Stable, snapshots: s.Snapshots}
}

// openStores checks raft's files in a folder and opens them. It creates those that are missing.
func openStores(dir string, logger hclog.Logger) (*stores, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, raftFile)
	if err := checkRaftFile(path); err != nil {
		return nil, err
	}
	g := &guarded{path: path}
	err := g.do(func() (err error) {
		g.store, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{NoFreelistSync: true, Timeout: time.Second}})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open raft's log %s: %w", path, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, logger)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return &stores{logs: g, stable: g, snapshots: snapshots, file: g, path: path}, nil
}

// checkRaftFile returns an error if the file exists, is not empty, and cannot be read.
func checkRaftFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	if err := checkBolt(f, info.Size()); err != nil {
		return &damagedError{path, err}
	}
	return nil
}

// damagedError reports a file of raft's that cannot be read.
type damagedError struct {
	path string
	err  error
}

func (e *damagedError) Error() string { return fmt.Sprintf("%s: %v", e.path, e.err) }

func (e *damagedError) Unwrap() error { return e.err }

// guarded turns panics and memory faults of bbolt, which malformed or unreadable pages cause, into
// errors. They must not end the process, which has arrays to serve.
type guarded struct {
	store *raftboltdb.BoltStore
	path  string
}

func (g *guarded) do(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &damagedError{g.path, boltDamage("%v", p)}
		}
	}()
	return f()
}

// FirstIndex implements raft.LogStore.
func (g *guarded) FirstIndex() (index uint64, err error) {
	err = g.do(func() (err error) { index, err = g.store.FirstIndex(); return err })
	return index, err
}

// LastIndex implements raft.LogStore.
func (g *guarded) LastIndex() (index uint64, err error) {
	err = g.do(func() (err error) { index, err = g.store.LastIndex(); return err })
	return index, err
}

// GetLog implements raft.LogStore.
func (g *guarded) GetLog(index uint64, entry *raft.Log) error {
	return g.do(func() error { return g.store.GetLog(index, entry) })
}

// StoreLog implements raft.LogStore.
func (g *guarded) StoreLog(entry *raft.Log) error { return g.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (g *guarded) StoreLogs(entries []*raft.Log) error {
	return g.do(func() error { return g.store.StoreLogs(entries) })
}

// DeleteRange implements raft.LogStore.
func (g *guarded) DeleteRange(first, last uint64) error {
	return g.do(func() error { return g.store.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (g *guarded) Set(key, value []byte) error {
	return g.do(func() error { return g.store.Set(key, value) })
}

// Get implements raft.StableStore.
func (g *guarded) Get(key []byte) (value []byte, err error) {
	err = g.do(func() (err error) { value, err = g.store.Get(key); return err })
	return value, err
}

// SetUint64 implements raft.StableStore.
func (g *guarded) SetUint64(key []byte, value uint64) error {
	return g.do(func() error { return g.store.SetUint64(key, value) })
}

// GetUint64 implements raft.StableStore.
func (g *guarded) GetUint64(key []byte) (value uint64, err error) {
	err = g.do(func() (err error) { value, err = g.store.GetUint64(key); return err })
	return value, err
}

// Close implements io.Closer.
func (g *guarded) Close() error { return g.do(g.store.Close) }
