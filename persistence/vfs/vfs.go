// Package vfs is the one door to the file system: what package persistence does to files, it does through an FS.
//
// There are three: OS is the machine's, Mem lies in memory and can lose what was not synced, as a machine without power does, and Faulty
// lets operations of another FS fail.
package vfs

import (
	"errors"
	"io"
	iofs "io/fs"
	"path"
)

// FS is a file system. Names have slashes. Nothing but what Sync and SyncDir have confirmed survives a loss of power.
type FS interface {
	// Open opens a file that is there.
	Open(name string) (File, error)
	// Create makes a new file; it is an error if there is one of the name.
	Create(name string) (File, error)
	Remove(name string) error
	// Rename gives a file another name, that of a file that is there too.
	Rename(from, to string) error
	// Mkdir makes a folder and those above it, where they are not there yet.
	Mkdir(name string) error
	// List returns what is in a folder, by name. A folder that is not there is fs.ErrNotExist.
	List(dir string) ([]Info, error)
	// SyncDir makes the names in a folder survive a loss of power.
	SyncDir(dir string) error
	// Volume opens what a folder lies on. For many files its Sync costs far less than theirs.
	Volume(dir string) (Volume, error)
	// Free returns how many bytes the file system has left.
	Free(dir string) (int64, error)
	// Lock makes sure that nobody else has the lock of the name until it is closed.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteAt writes pieces one behind the other. After an error nobody knows how much was written.
	WriteAt(pieces [][]byte, offset int64) error
	Truncate(size int64) error
	// Allocate makes an empty file that long, and takes the room for it now.
	Allocate(size int64) error
	// Sync makes the bytes survive a loss of power.
	Sync() error
	// StartWriteback begins to write what Sync will wait for, as far as the system knows a way.
	StartWriteback()
	Size() (int64, error)
	// DropCache lets the next read come from the disk, as far as the system knows a way.
	DropCache()
}

// Volume is all that a disk holds, kept open.
type Volume interface {
	// Sync makes everything survive a loss of power that was written before: all files and names. It reports each error since the volume was opened, or
	// since its last Sync, whether another caller has seen that error or not.
	Sync() error
	io.Closer
}

// Info is what List says of a file.
type Info struct {
	Name string
	Size int64
	Dir  bool
}

// ReadFile returns the bytes of a file, of which there must be no more than limit.
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

// WriteFile makes b the content of a file, as one step that survives a loss of power or is not done at all.
func WriteFile(fs FS, name string, b []byte) error {
	if err := ReplaceFile(fs, name, b); err != nil {
		return err
	}
	return fs.SyncDir(path.Dir(name))
}

// ReplaceFile is WriteFile without the last step: SyncDir of the folder is the caller's.
func ReplaceFile(fs FS, name string, b []byte) error {
	err := writeTemp(fs, name, b, File.Sync)
	if err == nil {
		err = fs.Rename(name+TempSuffix, name)
	}
	if err != nil {
		_ = fs.Remove(name + TempSuffix) // it would be removed the next time, too
	}
	return err
}

// TempSuffix ends the name under which the next content of a file is written.
const TempSuffix = ".tmp"

// PrepareFile does the first part of ReplaceFile for many files at once: it writes b beside the file. What follows is one Sync of the volume, and Rename.
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

// SyncAll makes everything survive a loss of power that was written before, on what a folder lies on.
func SyncAll(fs FS, dir string) error {
	v, err := fs.Volume(dir)
	if err != nil {
		return err
	}
	return errors.Join(v.Sync(), v.Close())
}

// Discard removes a file, if it is there.
func Discard(fs FS, name string) error {
	if err := fs.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return nil
}
