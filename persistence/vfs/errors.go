package vfs

import (
	"errors"
	"syscall"
)

// NoSpace reports whether an error says that the disk is full, or a quota is used up.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// NoDescriptors reports whether an error says that this process, or the system, has no file descriptor left. Only opening a file fails so: nothing was
// done to the disk, and the same call works once descriptors are free again.
func NoDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
