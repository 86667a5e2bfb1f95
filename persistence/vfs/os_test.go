package vfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ndring/ndring/internal/fair"
)

// More pieces than one system call accepts are written one after another.
func TestManyPieces(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, maxPieces - 1, maxPieces, maxPieces + 1, 3*maxPieces + 7} {
		f, err := OS{}.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		const offset = 5
		want := bytes.Repeat([]byte{0}, offset)
		var pieces [][]byte
		for i := range n {
			piece := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, (i+1)%4) // some are empty
			pieces, want = append(pieces, piece), append(want, piece...)
		}
		if err := f.WriteAt(pieces, offset); err != nil {
			t.Fatalf("%d pieces: %v", n, err)
		}
		got := make([]byte, len(want)+1)
		m, err := f.ReadAt(got, 0)
		if m != len(want) || err != io.EOF || !bytes.Equal(got[:m], want) {
			t.Errorf("%d pieces: %d bytes, want %d, %v; equal: %v", n, m, len(want), err, bytes.Equal(got[:m], want))
		}
		if size, err := f.Size(); size != int64(len(want)) || err != nil {
			t.Errorf("%d pieces: %d bytes, %v", n, size, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Long pieces, of which one system call writes only a part, arrive in order, beside short ones.
func TestLongPieces(t *testing.T) {
	t.Parallel()
	for _, lengths := range [][]int{{fair.Piece}, {fair.Piece + 1}, {3*fair.Piece + 7}, {0, 3 * fair.Piece}, {10, fair.Piece - 10, 5}, {10, fair.Piece - 9, 5}, {7, 2*fair.Piece + 1, 0, 9, fair.Piece, 3}} {
		f, err := OS{}.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		var pieces [][]byte
		for i, n := range lengths {
			piece := bytes.Repeat([]byte{byte(i + 1), 2, 3, 5, 7, 11, 13}, n/7+1)[:n]
			pieces, want = append(pieces, piece), append(want, piece...)
		}
		if err := f.WriteAt(pieces, 0); err != nil {
			t.Fatalf("pieces of %v: %v", lengths, err)
		}
		got := make([]byte, len(want)+1)
		if m, err := f.ReadAt(got, 0); m != len(want) || err != io.EOF || !bytes.Equal(got[:m], want) {
			t.Errorf("pieces of %v: %d bytes, want %d, %v; equal: %v", lengths, m, len(want), err, bytes.Equal(got[:m], want))
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Each sync reaches the system, which refuses to sync what cannot be synced. No other call would
// reveal that.
func TestSyncsReachTheSystem(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := (osFile{w}).Sync(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("fdatasync of a pipe: %v", err)
	}
	if err := (OS{}).SyncDir("/dev/null"); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("fsync of a device: %v", err)
	}
	v, err := OS{}.Volume(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Sync(); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := v.Sync(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("syncfs of a closed descriptor: %v", err)
	}
	if err := (OS{}).SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
}

// Allocate allocates the space of the file.
func TestAllocate(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS{}.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 20
	if err := f.Allocate(size); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != size || taken < size {
		t.Errorf("%d bytes, %d of them allocated", info.Size(), taken)
	}
}

// NoSpace and NoDescriptors recognize wrapped errors.
func TestErrorsAreKnown(t *testing.T) {
	t.Parallel()
	wrapped := func(err error) error { return &os.PathError{Op: "open", Path: "f", Err: err} }
	for err, want := range map[error][2]bool{
		syscall.ENOSPC: {true, false}, syscall.EDQUOT: {true, false}, syscall.EMFILE: {false, true}, syscall.ENFILE: {false, true}, syscall.EIO: {false, false},
	} {
		if got := [2]bool{NoSpace(wrapped(err)), NoDescriptors(wrapped(err))}; got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
	if NoSpace(nil) || NoDescriptors(nil) {
		t.Error("nil counts as an error")
	}
}

// A lock tells which file it is: the same one as long as the file stays, another one in a copy of
// the folder.
func TestLockID(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "LOCK")
	var ids []FileID
	for _, prepare := range []func() error{
		func() error { return nil },
		func() error { return nil },
		func() error { // the new file exists before the old one goes, so it has another inode
			if err := os.WriteFile(name+"2", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(name+"2", name)
		},
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		lock, err := OS{}.Lock(name)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, lock.ID())
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] == (FileID{}) || ids[0] != ids[1] || ids[1] == ids[2] {
		t.Error(ids)
	}
}

// A closed lock is free at once, though a child process that has not executed its program yet has a copy of the descriptor.
func TestClosedLockIsFree(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "LOCK")
	lock, err := OS{}.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	of, err := syscall.Dup(int(lock.(osLock).Fd())) // as fork does
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(of)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OS{}.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
