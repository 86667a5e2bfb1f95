package memory

import "unsafe"

// Ref is a buffer in 48 bits, which may be kept where Go's collector does not look. It is valid as long as a reference is held.
type Ref uint64

// Ref returns the buffer as a Ref.
func (b *Buffer) Ref() Ref { return Ref(uintptr(unsafe.Pointer(b))) }

// Buffer returns the buffer of a Ref; nil for 0.
func (r Ref) Buffer() *Buffer { return *(**Buffer)(unsafe.Pointer(&r)) }
