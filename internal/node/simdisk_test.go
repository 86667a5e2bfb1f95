package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"syscall"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/persistence/vfs"
)

// errEnded is the error of every operation of a killed process, which runs on only to end its goroutines.
var errEnded = fmt.Errorf("the process was killed: %w", syscall.EIO)

// simFiles is a file system in memory as one process sees it. Once the process is dead, nothing that it does reaches the disk.
type simFiles struct {
	*vfs.Mem
	owner *simProcess

	mu    sync.Mutex // guards locks
	locks []vfs.Lock
}

// openFiles returns the file system of a process, with the faults of its disk.
func (p *simProcess) openFiles(disk *vfs.Mem) vfs.FS {
	p.files = &simFiles{Mem: disk, owner: p}
	return vfs.NewFaulty(p.files, func(int) error {
		p.step()
		return p.node.diskError()
	})
}

// unlock frees the locks of a process that has ended.
func (f *simFiles) unlock() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.locks {
		l.Close()
	}
	f.locks = nil
}

// do does something unless the process is dead.
func (p *simProcess) do(what func() error) error {
	if p.dead.Load() {
		return errEnded
	}
	return what()
}

func (f *simFiles) Open(name string) (file vfs.File, err error) {
	err = f.owner.do(func() error { file, err = f.Mem.Open(name); return err })
	return simFile{file, f.owner}, err
}

func (f *simFiles) Create(name string) (file vfs.File, err error) {
	err = f.owner.do(func() error { file, err = f.Mem.Create(name); return err })
	return simFile{file, f.owner}, err
}

func (f *simFiles) Remove(name string) error {
	return f.owner.do(func() error { return f.Mem.Remove(name) })
}

func (f *simFiles) Rename(from, to string) error {
	return f.owner.do(func() error { return f.Mem.Rename(from, to) })
}

func (f *simFiles) Mkdir(name string) error {
	return f.owner.do(func() error { return f.Mem.Mkdir(name) })
}

func (f *simFiles) SyncDir(dir string) error {
	return f.owner.do(func() error { return f.Mem.SyncDir(dir) })
}

func (f *simFiles) Volume(dir string) (vfs.Volume, error) {
	v, err := f.Mem.Volume(dir)
	return simVolume{v, f.owner}, err
}

func (f *simFiles) Lock(name string) (lock vfs.Lock, err error) {
	err = f.owner.do(func() error { lock, err = f.Mem.Lock(name); return err })
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks = append(f.locks, lock)
	return simLock{lock, f.owner}, nil
}

// simLock is a lock that the system frees when the process dies.
type simLock struct {
	vfs.Lock
	owner *simProcess
}

func (l simLock) Close() error {
	if l.owner.dead.Load() {
		return nil
	}
	return l.Lock.Close()
}

type simVolume struct {
	vfs.Volume
	owner *simProcess
}

func (v simVolume) Sync() error { return v.owner.do(v.Volume.Sync) }

type simFile struct {
	vfs.File
	owner *simProcess
}

func (f simFile) WriteAt(pieces [][]byte, offset int64) error {
	return f.owner.do(func() error { return f.File.WriteAt(pieces, offset) })
}

func (f simFile) Truncate(size int64) error {
	return f.owner.do(func() error { return f.File.Truncate(size) })
}

func (f simFile) Allocate(size int64) error {
	return f.owner.do(func() error { return f.File.Allocate(size) })
}

func (f simFile) Sync() error { return f.owner.do(f.File.Sync) }

// simRaft is what raft keeps on a disk in a simulation. All of it survives a loss of power, as raft syncs each write. Each
// process works on a copy of its own, and what it writes gets to the disk while it lives.
type simRaft struct {
	mu       sync.Mutex // guards all below
	logs     map[uint64]*raft.Log
	values   map[string][]byte
	numbers  map[string]uint64
	snapshot *simSnapshot // the newest; nil for none
}

func newSimRaft() *simRaft {
	return &simRaft{logs: map[uint64]*raft.Log{}, values: map[string][]byte{}, numbers: map[string]uint64{}}
}

// open returns raft's stores for a process.
func (d *simRaft) open(p *simProcess) cluster.RaftStores {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := &simRaft{logs: maps.Clone(d.logs), values: maps.Clone(d.values), numbers: maps.Clone(d.numbers), snapshot: d.snapshot}
	s := &simRaftStore{own: own, disk: d, owner: p}
	return cluster.RaftStores{Logs: s, Stable: s, Snapshots: simSnapshots{s}}
}

// simRaftStore implements raft.LogStore and raft.StableStore.
type simRaftStore struct {
	own, disk *simRaft
	owner     *simProcess
}

var errNoKey = errors.New("not found") // raft compares the text

// write changes both, or none if the disk fails or the process is dead.
func (s *simRaftStore) write(change func(*simRaft)) error {
	s.owner.step()
	if err := s.owner.do(s.owner.node.diskError); err != nil {
		return err
	}
	for _, d := range []*simRaft{s.own, s.disk} {
		d.mu.Lock()
		change(d)
		d.mu.Unlock()
	}
	return nil
}

func (s *simRaftStore) bounds() (first, last uint64) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	for index := range s.own.logs {
		if first == 0 || index < first {
			first = index
		}
		last = max(last, index)
	}
	return first, last
}

func (s *simRaftStore) FirstIndex() (uint64, error) {
	first, _ := s.bounds()
	return first, nil
}

func (s *simRaftStore) LastIndex() (uint64, error) {
	_, last := s.bounds()
	return last, nil
}

func (s *simRaftStore) GetLog(index uint64, entry *raft.Log) error {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	found := s.own.logs[index]
	if found == nil {
		return raft.ErrLogNotFound
	}
	*entry = *found
	return nil
}

func (s *simRaftStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

func (s *simRaftStore) StoreLogs(entries []*raft.Log) error {
	return s.write(func(d *simRaft) {
		for _, e := range entries {
			kept := *e
			d.logs[e.Index] = &kept
		}
	})
}

func (s *simRaftStore) DeleteRange(first, last uint64) error {
	return s.write(func(d *simRaft) {
		for index := first; index <= last; index++ {
			delete(d.logs, index)
		}
	})
}

func (s *simRaftStore) Set(key, value []byte) error {
	return s.write(func(d *simRaft) { d.values[string(key)] = bytes.Clone(value) })
}

func (s *simRaftStore) Get(key []byte) ([]byte, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if value, found := s.own.values[string(key)]; found {
		return value, nil
	}
	return nil, errNoKey
}

func (s *simRaftStore) SetUint64(key []byte, value uint64) error {
	return s.write(func(d *simRaft) { d.numbers[string(key)] = value })
}

func (s *simRaftStore) GetUint64(key []byte) (uint64, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if value, found := s.own.numbers[string(key)]; found {
		return value, nil
	}
	return 0, errNoKey
}

// simSnapshots implements raft.SnapshotStore. It keeps the newest one.
type simSnapshots struct{ *simRaftStore }

type simSnapshot struct {
	meta    raft.SnapshotMeta
	content []byte
}

func (s simSnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := raft.SnapshotMeta{Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term, Configuration: c, ConfigurationIndex: at}
	return &simSink{store: s, meta: meta}, nil
}

func (s simSnapshots) List() ([]*raft.SnapshotMeta, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if s.own.snapshot == nil {
		return nil, nil
	}
	meta := s.own.snapshot.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

func (s simSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if s.own.snapshot == nil || s.own.snapshot.meta.ID != id {
		return nil, nil, errNoKey
	}
	meta := s.own.snapshot.meta
	return &meta, io.NopCloser(bytes.NewReader(s.own.snapshot.content)), nil
}

// simSink implements raft.SnapshotSink.
type simSink struct {
	bytes.Buffer
	store simSnapshots
	meta  raft.SnapshotMeta
}

func (s *simSink) ID() string    { return s.meta.ID }
func (s *simSink) Cancel() error { return nil }

func (s *simSink) Close() error {
	s.meta.Size = int64(s.Len())
	kept := &simSnapshot{s.meta, bytes.Clone(s.Bytes())}
	return s.store.write(func(d *simRaft) { d.snapshot = kept })
}
