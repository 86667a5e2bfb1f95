package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ndring/ndring/internal/fair"
	"golang.org/x/sys/unix"
)

// OS is the file system of the machine.
type OS struct{}

// Open implements FS. It opens a file without write permission for reading.
func (OS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Create implements FS.
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Mkdir implements FS.
func (OS) Mkdir(name string) error { return os.MkdirAll(name, 0o700) }

// List implements FS.
func (OS) List(dir string) ([]Info, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []Info
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Info{e.Name(), info.Size(), e.IsDir()})
	}
	return all, nil
}

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Volume implements FS. Since Linux 5.8 syncfs reports the errors of all files, each once per open
// descriptor, so the descriptor stays open.
func (OS) Volume(dir string) (Volume, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return osVolume{d}, nil
}

type osVolume struct{ *os.File }

func (v osVolume) Sync() error {
	if err := unix.Syncfs(int(v.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: v.Name(), Err: err}
	}
	return nil
}

// Free implements FS.
func (OS) Free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Lock implements FS.
func (OS) Lock(name string) (Lock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process uses %s", filepath.Dir(name))
		}
		return nil, &os.PathError{Op: "flock", Path: name, Err: err}
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "fstat", Path: name, Err: err}
	}
	return osLock{f, FileID{uint64(s.Dev), s.Ino}}, nil
}

type osLock struct {
	*os.File
	id FileID
}

func (l osLock) ID() FileID { return l.id }

// Close gives the lock up before it closes the file. A child process has a copy of the descriptor until it executes its
// program, and the lock would last as long as that.
func (l osLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

type osFile struct{ *os.File }

// maxPieces is how many pieces one system call accepts (IOV_MAX).
const maxPieces = 1024

// WriteAt leaves time to other goroutines between two parts of a long piece.
func (f osFile) WriteAt(pieces [][]byte, offset int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var left [][]byte // a copy: the loop below consumes it
	for len(pieces) > 0 {
		left = append(left[:0], pieces[:min(len(pieces), maxPieces)]...)
		pieces = pieces[len(left):]
		for rest := left; len(rest) > 0; {
			var n int
			var failed error
			if err := raw.Write(func(fd uintptr) bool {
				if now := atOnce(rest); now > 1 {
					n, failed = unix.Pwritev(int(fd), rest[:now], offset)
				} else {
					n, failed = unix.Pwrite(int(fd), rest[0][:min(len(rest[0]), fair.Piece)], offset)
				}
				return true
			}); err != nil {
				return err
			}
			if errors.Is(failed, unix.EINTR) {
				continue
			}
			if failed == nil && n == 0 && len(rest[0]) > 0 {
				failed = io.ErrShortWrite
			}
			if failed != nil {
				return &os.PathError{Op: "write", Path: f.Name(), Err: failed}
			}
			offset += int64(n)
			fair.Yield(n)
			for len(rest) > 0 && n >= len(rest[0]) {
				n -= len(rest[0])
				rest = rest[1:]
			}
			if n > 0 {
				rest[0] = rest[0][n:]
			}
		}
	}
	return nil
}

// atOnce returns how many pieces to write with one system call; 0 if the first is too long to be written at once.
func atOnce(pieces [][]byte) (n int) {
	for bytes := 0; n < len(pieces); n++ {
		if bytes += len(pieces[n]); bytes > fair.Piece {
			break
		}
	}
	return n
}

func (f osFile) Sync() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		for {
			if failed = unix.Fdatasync(int(fd)); !errors.Is(failed, unix.EINTR) {
				return
			}
		}
	}); err != nil {
		return err
	}
	if failed != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}

// Allocate writes zeros where the file system cannot allocate space.
func (f osFile) Allocate(size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.WriteAt([][]byte{make([]byte, size)}, 0)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) StartWriteback() {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE) }) // Sync reports the errors
	}
}

func (f osFile) DropCache() {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) }) // only a hint
	}
}
