//go:build !goheap && !race && linux

package memory

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages. On a system without them it fails, which changes nothing.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
