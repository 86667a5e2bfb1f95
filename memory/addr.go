package memory

import "unsafe"

// Addr is the address of a buffer in 48 bits, for places that Go's collector does not scan. It is
// valid while a reference to the buffer is held.
type Addr uint64

// Addr returns the address of the buffer.
func (b *Buffer) Addr() Addr { return Addr(uintptr(unsafe.Pointer(b))) }

// Buffer returns the buffer at an address; nil for 0.
func (r Addr) Buffer() *Buffer { return *(**Buffer)(unsafe.Pointer(&r)) }
