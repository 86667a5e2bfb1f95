package resp

import (
	"io"

	"github.com/ndring/ndring/memory"
)

// largeTotal is the number of bytes that all clients together may hold in read buffers before pipelines
// stop getting large ones.
const largeTotal = 64 << 20

// block is memory of a pool that grows. b is the part in use; b[len(b):cap(b)] is free.
type block struct {
	pool   *memory.Pool
	buffer *memory.Buffer // holds b; nil when b is nil
	b      []byte
}

// reserve makes n more bytes fit.
func (k *block) reserve(n int) {
	if cap(k.b)-len(k.b) < n {
		k.resize(max(len(k.b)+n, min(2*cap(k.b), len(k.b)+n+scratchStep)))
	}
}

// resize moves the block to a buffer of size bytes, which must hold the part in use.
func (k *block) resize(size int) {
	buffer := k.pool.New(size)
	b := buffer.Bytes()
	b = b[:copy(b, k.b)]
	k.drop()
	k.buffer, k.b = buffer, b
}

// drop releases the memory.
func (k *block) drop() {
	if k.buffer != nil {
		k.buffer.Release()
	}
	k.buffer, k.b = nil, nil
}

// Source is where a Reader reads from.
type Source interface {
	// Receive reads at least one byte into dst, or returns an error.
	Receive(dst Destination) (int, error)
}

// Destination is memory for bytes that arrive. A Source that can wait for bytes without memory calls
// idle before it waits and space when bytes are there, so that an idle client holds no buffer.
type Destination struct {
	direct []byte  // a large argument's buffer; nil to read ahead
	ahead  *Reader // whose read buffer grows on demand
}

// space returns the memory, and allocates it if necessary.
func (d Destination) space() []byte {
	if d.direct != nil {
		return d.direct
	}
	return d.ahead.space()
}

// Stream returns a Source that reads r, and allocates memory before it waits.
func Stream(r io.Reader) Source { return stream{r} }

type stream struct{ io.Reader }

func (s stream) Receive(dst Destination) (int, error) { return s.Read(dst.space()) }

// space returns the free part of the read buffer.
func (r *Reader) space() []byte {
	if r.ahead.buffer == nil {
		if r.own.Allocated() >= largeTotal {
			r.aheadSize = r.limits.Buffers.First
		}
		r.ahead.resize(r.aheadSize)
		r.ahead.b = r.ahead.b[:r.aheadSize]
	}
	return r.ahead.b[r.end:]
}

// idle releases the memory that a silent client does not need.
func (r *Reader) idle() {
	if r.inCommand || r.end > 0 {
		return
	}
	if len(r.ahead.b) > r.limits.Buffers.First {
		r.ahead.drop()
	}
	if cap(r.scratch.b) > r.limits.Buffers.First {
		r.scratch.drop()
	}
}

// need reads until n unparsed bytes are there.
func (r *Reader) need(n int) error {
	for r.end-r.start < n {
		if r.start > 0 {
			r.end = copy(r.ahead.b, r.ahead.b[r.start:r.end])
			r.start = 0
		}
		if r.end > 0 && r.end == len(r.ahead.b) {
			r.grow(max(r.limits.Buffers.Large, 2*len(r.ahead.b)))
		}
		got, err := r.src.Receive(Destination{ahead: r})
		first := r.end == 0
		r.end += got
		switch {
		case got == 0 && err != nil:
			if r.inCommand {
				err = unexpected(err)
			}
			return err
		case r.end == len(r.ahead.b) && r.end < r.limits.Buffers.Large && r.own.Allocated() < largeTotal: // more than fits arrives: a pipeline
			r.aheadSize = r.limits.Buffers.Large
			r.grow(r.aheadSize)
		case first && got <= r.limits.Buffers.First:
			r.aheadSize = r.limits.Buffers.First
		}
	}
	return nil
}

// grow resizes the read buffer.
func (r *Reader) grow(size int) {
	r.ahead.b = r.ahead.b[:r.end]
	r.ahead.resize(size)
	r.ahead.b = r.ahead.b[:size]
}
