package vfs

import (
	"errors"
	"syscall"
)

// NoSpace reports whether an error means that the disk is full or a quota is exhausted.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// NoDescriptors reports whether an error means that this process or the system has no file
// descriptor left. Only opening a file fails this way: the disk is unchanged, and the same call
// works once descriptors are free again.
func NoDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
