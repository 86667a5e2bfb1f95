package vfs

import "sync"

// Faulty wraps a file system and lets its changes fail.
type Faulty struct {
	FS
	mu   sync.Mutex // guards all below
	n    int        // changes so far
	fail func(n int) error
	hits int // changes that failed
}

// NewFaulty returns fs with faults. It calls fail before each change (a write, a sync, a new name,
// ...) with the number of the change, from 0 on. The change fails with the error that fail returns,
// if any; a failing write writes half.
func NewFaulty(fs FS, fail func(n int) error) *Faulty { return &Faulty{FS: fs, fail: fail} }

// Changes returns how many changes there were, and how many of these failed.
func (f *Faulty) Changes() (n, failed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n, f.hits
}

func (f *Faulty) step() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.fail(f.n)
	f.n++
	if err != nil {
		f.hits++
	}
	return err
}

// do makes a change, or fails it.
func (f *Faulty) do(change func() error) error {
	if err := f.step(); err != nil {
		return err
	}
	return change()
}

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return faultyFile{file, f}, nil
}

// Create implements FS.
func (f *Faulty) Create(name string) (File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return faultyFile{file, f}, nil
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error { return f.do(func() error { return f.FS.Remove(name) }) }

// Rename implements FS.
func (f *Faulty) Rename(from, to string) error {
	return f.do(func() error { return f.FS.Rename(from, to) })
}

// Mkdir implements FS.
func (f *Faulty) Mkdir(name string) error { return f.do(func() error { return f.FS.Mkdir(name) }) }

// SyncDir implements FS.
func (f *Faulty) SyncDir(dir string) error { return f.do(func() error { return f.FS.SyncDir(dir) }) }

// Volume implements FS.
func (f *Faulty) Volume(dir string) (Volume, error) {
	v, err := f.FS.Volume(dir)
	if err != nil {
		return nil, err
	}
	return faultyVolume{v, f}, nil
}

type faultyVolume struct {
	Volume
	f *Faulty
}

func (v faultyVolume) Sync() error { return v.f.do(v.Volume.Sync) }

// Lock implements FS.
func (f *Faulty) Lock(name string) (Lock, error) { return f.FS.Lock(name) }

type faultyFile struct {
	File
	f *Faulty
}

func (f faultyFile) WriteAt(pieces [][]byte, offset int64) error {
	err := f.f.step()
	if err == nil {
		return f.File.WriteAt(pieces, offset)
	}
	for _, b := range pieces[:(len(pieces)+1)/2] {
		half := b[:(len(b)+1)/2]
		if f.File.WriteAt([][]byte{half}, offset) != nil || len(half) < len(b) {
			break
		}
		offset += int64(len(half))
	}
	return err
}

func (f faultyFile) Truncate(size int64) error {
	return f.f.do(func() error { return f.File.Truncate(size) })
}

func (f faultyFile) Allocate(size int64) error {
	return f.f.do(func() error { return f.File.Allocate(size) })
}

func (f faultyFile) Sync() error { return f.f.do(f.File.Sync) }
