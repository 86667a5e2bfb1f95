package persistence

import "github.com/ndring/ndring/persistence/vfs"

// NoSpace reports whether an error says that the disk is full, or a quota is used up.
func NoSpace(err error) bool { return vfs.NoSpace(err) }

// NoDescriptors reports whether an error says that there is no file descriptor left. Nothing was done then, and the same call works later.
func NoDescriptors(err error) bool { return vfs.NoDescriptors(err) }
