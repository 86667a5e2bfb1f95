package memory

import "unsafe"

// Addr is a buffer in 48 bits, which may be kept where Go's collector does not look. It is valid as
// long as a reference is held.
type Addr uint64

// Addr returns the address of the buffer.
func (b *Buffer) Addr() Addr { return Addr(uintptr(unsafe.Pointer(b))) }

// Buffer returns the buffer of a Ref; nil for 0.
func (r Addr) Buffer() *Buffer { return *(**Buffer)(unsafe.Pointer(&r)) }
