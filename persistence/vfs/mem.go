package vfs

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"syscall"
)

// sector is the unit in which a disk writes, or loses writes.
const sector = 512 // bytes

// Mem is a file system in memory. It knows what was synced and what was only written, and Crash can
// lose the difference.
type Mem struct {
	mu      sync.Mutex // guards all below, and all inodes
	now     names      // as a program sees them
	durable names      // as synced
	pending map[string][]nameChange
	locks   map[string]bool
	device  uint64
	free    int64
	size    int64 // capacity in bytes; 0 for no limit
}

// names are files and folders by their paths.
type names struct {
	files map[string]*inode
	dirs  map[string]bool
}

func (n names) clone() names { return names{maps.Clone(n.files), maps.Clone(n.dirs)} }

// nameChange is an unsynced change of the names in a folder.
type nameChange func(names)

type inode struct {
	data   []byte
	synced []byte
	dirty  map[int64]bool // sectors written since the last sync
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	empty := names{map[string]*inode{}, map[string]bool{".": true, "/": true}}
	return &Mem{now: empty, durable: empty.clone(), pending: map[string][]nameChange{}, locks: map[string]bool{}, free: 1 << 50}
}

// SetDevice sets the number of the disk: another one makes the files those of a copy, or of another
// machine.
func (m *Mem) SetDevice(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.device = n
}

// SetFree sets what Free returns on a disk without a limit.
func (m *Mem) SetFree(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = n
}

// SetSize limits the disk to n bytes, counted in whole blocks: writes beyond that fail with ENOSPC.
// 0 removes the limit.
func (m *Mem) SetSize(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size = n
}

// block is the unit in which a file system allocates space to files and folders.
const block = 4096 // bytes

func blocks(n int) int64 { return (int64(n) + block - 1) / block * block }

// left returns how many bytes are free. The caller holds mu.
func (m *Mem) left() int64 {
	if m.size == 0 {
		return m.free
	}
	left := m.size - int64(len(m.now.dirs))*block
	for _, i := range m.now.files {
		left -= blocks(len(i.data))
	}
	return left
}

// fits returns an error if n more bytes do not fit. The caller holds mu.
func (m *Mem) fits(n int64, op, name string) error {
	if n > 0 && n > m.left() {
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOSPC}
	}
	return nil
}

// Crash returns what a machine finds on its disk after a loss of power: everything synced, and of
// the rest some sectors and some names, chosen by r.
func (m *Mem) Crash(r *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.durable.clone()
	for _, dir := range slices.Sorted(maps.Keys(m.pending)) {
		changes := m.pending[dir]
		for _, change := range changes[:r.IntN(len(changes)+1)] {
			change(found)
		}
	}
	after := NewMem()
	after.free, after.size, after.device = m.free, m.size, m.device
	for _, dir := range slices.Sorted(maps.Keys(found.dirs)) { // parents come first
		if after.now.dirs[path.Dir(dir)] {
			after.now.dirs[dir] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found.files)) {
		if !after.now.dirs[path.Dir(name)] {
			continue
		}
		data := found.files[name].afterCrash(r)
		after.now.files[name] = &inode{data: data, synced: slices.Clone(data), dirty: map[int64]bool{}}
	}
	after.durable = after.now.clone()
	return after
}

// afterCrash returns what is left of a file after a loss of power.
func (i *inode) afterCrash(r *rand.Rand) []byte {
	if len(i.dirty) == 0 && len(i.data) == len(i.synced) {
		return slices.Clone(i.synced)
	}
	size := len(i.synced)
	if low, high := min(size, len(i.data)), max(size, len(i.data)); high > low {
		size = low + r.IntN(high-low+1)
	}
	left := make([]byte, size)
	copy(left, i.synced)
	share := r.Float64() // of the sectors that reached the disk
	for _, at := range slices.Sorted(maps.Keys(i.dirty)) {
		if from := at * sector; r.Float64() < share && from < int64(min(size, len(i.data))) {
			copy(left[from:min(from+sector, int64(size))], i.data[from:])
		}
	}
	return left
}

// Clone returns a copy of the file system as a program sees it, with everything synced.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	copied := NewMem()
	copied.free, copied.size, copied.device = m.free, m.size, m.device
	copied.now.dirs = maps.Clone(m.now.dirs)
	for name, i := range m.now.files {
		copied.now.files[name] = &inode{data: slices.Clone(i.data), synced: slices.Clone(i.data), dirty: map[int64]bool{}}
	}
	copied.durable = copied.now.clone()
	return copied
}

func notThere(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

// change applies a change of names now, and to the durable names when the folder is synced.
func (m *Mem) change(dir string, do nameChange) {
	do(m.now)
	m.pending[dir] = append(m.pending[dir], do)
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.now.files[path.Clean(name)]
	if i == nil {
		return nil, notThere("open", name)
	}
	return &memFile{m, i}, nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if !m.now.dirs[path.Dir(name)] {
		return nil, notThere("create", name)
	}
	if m.now.files[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	i := &inode{dirty: map[int64]bool{}}
	m.change(path.Dir(name), func(n names) { n.files[name] = i })
	return &memFile{m, i}, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.now.files[name] == nil {
		return notThere("remove", name)
	}
	m.change(path.Dir(name), func(n names) { delete(n.files, name) })
	return nil
}

// Rename implements FS. A move between folders becomes durable with a sync of the target folder.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	i := m.now.files[from]
	if i == nil || !m.now.dirs[path.Dir(to)] {
		return notThere("rename", from)
	}
	m.change(path.Dir(to), func(n names) {
		n.files[to] = i
		if n.files[from] == i { // otherwise a later file of that name is durable already
			delete(n.files, from)
		}
	})
	return nil
}

// Mkdir implements FS.
func (m *Mem) Mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name = path.Clean(name); !m.now.dirs[name] {
		if err := m.fits(block, "mkdir", name); err != nil {
			return err
		}
	}
	m.mkdir(name)
	return nil
}

func (m *Mem) mkdir(name string) {
	if m.now.dirs[name] {
		return
	}
	m.mkdir(path.Dir(name))
	m.change(path.Dir(name), func(n names) { n.dirs[name] = true })
}

// RemoveDir removes an empty folder, as an administrator may.
func (m *Mem) RemoveDir(dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	m.change(path.Dir(dir), func(n names) { delete(n.dirs, dir) })
}

// List implements FS.
func (m *Mem) List(dir string) ([]Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if !m.now.dirs[dir] {
		return nil, notThere("open", dir)
	}
	var all []Info
	for name, i := range m.now.files {
		if path.Dir(name) == dir {
			all = append(all, Info{path.Base(name), int64(len(i.data)), false})
		}
	}
	for name := range m.now.dirs {
		if path.Dir(name) == dir && name != dir {
			all = append(all, Info{path.Base(name), 0, true})
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if !m.now.dirs[dir] {
		return notThere("sync", dir)
	}
	for _, change := range m.pending[dir] {
		change(m.durable)
	}
	delete(m.pending, dir)
	return nil
}

// Volume implements FS.
func (m *Mem) Volume(string) (Volume, error) { return memVolume{m}, nil }

type memVolume struct{ m *Mem }

func (memVolume) Close() error { return nil }

func (v memVolume) Sync() error {
	m := v.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range m.now.files {
		i.sync()
	}
	m.durable = m.now.clone()
	clear(m.pending)
	return nil
}

func (i *inode) sync() {
	i.synced = slices.Clone(i.data)
	clear(i.dirty)
}

// Free implements FS.
func (m *Mem) Free(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left(), nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, fmt.Errorf("another process uses %s", path.Dir(name))
	}
	m.locks[name] = true
	return &memLock{m, name, FileID{m.device, 1}}, nil
}

type memLock struct {
	m    *Mem
	name string
	id   FileID
}

func (l *memLock) ID() FileID { return l.id }

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

type memFile struct {
	m *Mem
	i *inode
}

func (f *memFile) ReadAt(b []byte, offset int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if offset >= int64(len(f.i.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.i.data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(pieces [][]byte, offset int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for _, b := range pieces {
		if len(b) == 0 {
			continue
		}
		end := offset + int64(len(b))
		if err := f.m.fits(blocks(int(end))-blocks(len(f.i.data)), "write", "a file"); err != nil {
			return err
		}
		if missing := end - int64(len(f.i.data)); missing > 0 {
			f.i.data = append(f.i.data, make([]byte, missing)...)
		}
		copy(f.i.data[offset:], b)
		for at := offset / sector; at <= (end-1)/sector; at++ {
			f.i.dirty[at] = true
		}
		offset = end
	}
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if missing := size - int64(len(f.i.data)); missing > 0 {
		f.i.data = append(f.i.data, make([]byte, missing)...)
	}
	f.i.data = f.i.data[:size]
	return nil
}

func (f *memFile) Allocate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.fits(blocks(int(size))-blocks(len(f.i.data)), "fallocate", "a file"); err != nil {
		return err
	}
	f.i.data = append(f.i.data, make([]byte, size-int64(len(f.i.data)))...)
	return nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.i.sync()
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.i.data)), nil
}

func (f *memFile) StartWriteback() {}
func (f *memFile) DropCache()      {}
func (f *memFile) Close() error    { return nil }
