package persistence

import "github.com/ndring/ndring/persistence/vfs"

// NoSpace reports whether an error means that the disk is full or a quota is exhausted.
func NoSpace(err error) bool { return vfs.NoSpace(err) }

// NoDescriptors reports whether an error means that no file descriptor is left. Nothing has changed
// then, and the same call works later.
func NoDescriptors(err error) bool { return vfs.NoDescriptors(err) }
