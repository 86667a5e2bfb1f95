package resp

import (
	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
)

// Arg is one argument of a command. It is valid until the next call of Reader.Next.
type Arg struct {
	small []byte         // the bytes, unless there is a buffer
	large *memory.Buffer // holds the bytes of a large bulk; the Reader owns the reference
	crc   uint32         // CRC32C of large
}

// NewArg returns an argument outside a Reader.
func NewArg(b []byte) Arg { return Arg{small: b} }

// Bytes returns the argument's bytes.
func (a *Arg) Bytes() []byte {
	if a.large != nil {
		return a.large.Bytes()
	}
	return a.small
}

// Retain returns the buffer of a large argument, framed as a bulk string, with a reference for the
// caller. It returns nil for a small argument.
func (a *Arg) Retain() *memory.Buffer {
	if a.large == nil {
		return nil
	}
	return a.large.Retain()
}

// Take returns the argument in a buffer of its own, with a reference for the caller.
func (a *Arg) Take(pool *memory.Pool) *memory.Buffer {
	if a.large != nil {
		return a.large.Retain()
	}
	return pool.Copy(a.small)
}

// CRC returns the argument's CRC32C.
func (a *Arg) CRC() uint32 {
	if a.large != nil {
		return a.crc
	}
	return crc32c.Checksum(a.small)
}

// SmallBytes returns the total length of the small arguments, which the store would have to copy.
func SmallBytes(args []Arg) (n int64) {
	for i := range args {
		n += int64(len(args[i].small))
	}
	return n
}

// WireSize returns the bytes of a command that is sent as an array of bulk strings.
func WireSize(args []Arg) int64 {
	digits := func(n int) (d int64) {
		for d = 1; n >= 10; n /= 10 {
			d++
		}
		return d
	}
	size := 3 + digits(len(args))
	for i := range args {
		n := len(args[i].Bytes())
		size += 5 + digits(n) + int64(n)
	}
	return size
}

func releaseArgs(args []Arg) {
	for i := range args {
		if args[i].large != nil {
			args[i].large.Release()
		}
	}
}
