// Package vfs is the only way from package persistence to the file system.
//
// There are three implementations: OS is the machine's file system, Mem is in memory and can lose
// what was not synced, as a loss of power does, and Faulty makes operations of another FS fail. The
// package knows files and syncs; it must not learn of records or shards.
package vfs

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path"
)

// FS is a file system. Names use slashes. Only what a Sync or SyncDir has confirmed survives a loss
// of power.
type FS interface {
	// Open opens an existing file.
	Open(name string) (File, error)
	// Create creates a new file. It fails with fs.ErrExist if the name is in use.
	Create(name string) (File, error)
	Remove(name string) error
	// Rename renames a file, and replaces one of the new name.
	Rename(from, to string) error
	// Mkdir creates a folder and its parents, if they do not exist.
	Mkdir(name string) error
	// List returns what is in a folder, sorted by name; fs.ErrNotExist if the folder does not exist.
	List(dir string) ([]Info, error)
	// SyncDir makes the names in a folder survive a loss of power.
	SyncDir(dir string) error
	// Volume opens the file system of a folder. For many files its Sync costs far less than a Sync
	// of each.
	Volume(dir string) (Volume, error)
	// Free returns how many bytes the file system has left.
	Free(dir string) (int64, error)
	// Lock takes an exclusive lock, which lasts until it is closed. It fails if another process has
	// it.
	Lock(name string) (Lock, error)
}

// Lock is a lock that this process holds.
type Lock interface {
	io.Closer
	// ID returns which file is locked. A copy of the folder has another one.
	ID() FileID
}

// FileID identifies a file on this machine as long as it exists. A device may have another number
// after a reboot.
type FileID struct{ Device, Inode uint64 }

func (id FileID) String() string { return fmt.Sprintf("%d:%d", id.Device, id.Inode) }

// File is an open file.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteAt writes pieces one after another. After an error it is unknown how much was written.
	WriteAt(pieces [][]byte, offset int64) error
	Truncate(size int64) error
	// Allocate extends an empty file to size and allocates the space for it.
	Allocate(size int64) error
	// Sync makes the content survive a loss of power.
	Sync() error
	// StartWriteback asks the system to start writing what Sync will wait for.
	StartWriteback()
	Size() (int64, error)
	// DropCache asks the system to serve the next read from the disk, not from its cache.
	DropCache()
}

// Volume is an open file system.
type Volume interface {
	// Sync makes all files and names written before survive a loss of power. It reports each error
	// since the volume was opened, or since its last Sync, even if another caller has seen that
	// error.
	Sync() error
	io.Closer
}

// Info describes a file in a List.
type Info struct {
	Name string
	Size int64
	Dir  bool
}

// ReadFile returns the content of a file, at most limit bytes of it.
func ReadFile(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, limit))
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// WriteFile replaces the content of a file, atomically and durably.
func WriteFile(fs FS, name string, b []byte) error {
	if err := ReplaceFile(fs, name, b); err != nil {
		return err
	}
	return fs.SyncDir(path.Dir(name))
}

// ReplaceFile is WriteFile without its last step: the caller must call SyncDir for the folder.
func ReplaceFile(fs FS, name string, b []byte) error {
	err := writeTemp(fs, name, b, File.Sync)
	if err == nil {
		err = fs.Rename(name+TempSuffix, name)
	}
	if err != nil {
		_ = fs.Remove(name + TempSuffix) // the next write removes it, too
	}
	return err
}

// TempSuffix ends the name of a file that will replace another.
const TempSuffix = ".tmp"

// PrepareFile is the first step of replacing many files: it writes b beside the file. One Sync of
// the volume for all and a Rename of each must follow.
func PrepareFile(fs FS, name string, b []byte) error {
	return writeTemp(fs, name, b, func(File) error { return nil })
}

func writeTemp(fs FS, name string, b []byte, sync func(File) error) error {
	if err := Discard(fs, name+TempSuffix); err != nil {
		return err
	}
	f, err := fs.Create(name + TempSuffix)
	if err != nil {
		return err
	}
	err = f.WriteAt([][]byte{b}, 0)
	if err == nil {
		err = sync(f)
	}
	return errors.Join(err, f.Close())
}

// SyncAll syncs the file system of a folder.
func SyncAll(fs FS, dir string) error {
	v, err := fs.Volume(dir)
	if err != nil {
		return err
	}
	return errors.Join(v.Sync(), v.Close())
}

// Discard removes a file, if it exists.
func Discard(fs FS, name string) error {
	if err := fs.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return nil
}
