package protocol

import (
	"io"

	"github.com/ndring/ndring/memory"
)

// readBuffers are the sizes of the buffer into which a connection is read.
type readBuffers struct {
	first int // bytes; what a connection keeps while nothing comes
	large int // bytes; the most, for pipelines of small commands
}

// What a client whose password is known may make the node hold, and what a stranger may.
var (
	usualBuffers    = readBuffers{4 << 10, 64 << 10}
	strangerBuffers = readBuffers{1 << 10, 1 << 10}
)

// largeTotal is how many bytes all clients may have read ahead before those that send pipelines get no larger buffers.
const largeTotal = 64 << 20

// block is memory of a pool that grows. The bytes in use are b; those behind them, up to its capacity, are free.
type block struct {
	pool   *memory.Pool
	buffer *memory.Buffer // in which b lies; nil while there is none
	b      []byte
}

// room makes n more bytes fit.
func (k *block) room(n int) {
	if cap(k.b)-len(k.b) < n {
		k.resize(max(len(k.b)+n, min(2*cap(k.b), len(k.b)+n+scratchStep)))
	}
}

// resize gives the block so many bytes, which those in use fit into.
func (k *block) resize(size int) {
	buffer := k.pool.New(size)
	b := buffer.Bytes()
	b = b[:copy(b, k.b)]
	k.drop()
	k.buffer, k.b = buffer, b
}

// drop gives the memory back.
func (k *block) drop() {
	if k.buffer != nil {
		k.buffer.Release()
	}
	k.buffer, k.b = nil, nil
}

// source is what a Reader reads from. ReadInto reads into the memory that take returns when bytes are there; before it waits for some, it calls idle, which may give memory
// back: take is called again then.
type source interface {
	io.Reader
	ReadInto(m aheadMemory) (int, error)
}

type aheadMemory interface {
	take() []byte
	idle()
}

// eager is a source that takes memory before it waits.
type eager struct{ io.Reader }

func (e eager) ReadInto(m aheadMemory) (int, error) { return e.Read(m.take()) }

// take returns the free part of what is read ahead, for bytes that are to come.
func (r *Reader) take() []byte {
	if r.ahead.buffer == nil {
		if r.own.Allocated() >= largeTotal {
			r.wanted = r.limits.Buffers.first
		}
		r.ahead.resize(r.wanted)
		r.ahead.b = r.ahead.b[:r.wanted]
	}
	return r.ahead.b[r.end:]
}

// idle gives back what a client does not need that sends nothing.
func (r *Reader) idle() {
	if r.inCommand || r.end > 0 {
		return
	}
	if len(r.ahead.b) > r.limits.Buffers.first {
		r.ahead.drop()
	}
	if cap(r.scratch.b) > r.limits.Buffers.first {
		r.scratch.drop()
	}
}

// need reads until n bytes are there.
func (r *Reader) need(n int) error {
	for r.end-r.start < n {
		if r.start > 0 {
			r.end = copy(r.ahead.b, r.ahead.b[r.start:r.end])
			r.start = 0
		}
		if r.end > 0 && r.end == len(r.ahead.b) {
			r.grow(max(r.limits.Buffers.large, 2*len(r.ahead.b)))
		}
		got, err := r.src.ReadInto(r)
		first := r.end == 0
		r.end += got
		switch {
		case got == 0 && err != nil:
			if r.inCommand {
				err = unexpected(err)
			}
			return err
		case r.end == len(r.ahead.b) && r.end < r.limits.Buffers.large && r.own.Allocated() < largeTotal: // the client sends more than fits: a pipeline
			r.wanted = r.limits.Buffers.large
			r.grow(r.wanted)
		case first && got <= r.limits.Buffers.first:
			r.wanted = r.limits.Buffers.first
		}
	}
	return nil
}

// grow makes what is read ahead that large.
func (r *Reader) grow(size int) {
	r.ahead.b = r.ahead.b[:r.end]
	r.ahead.resize(size)
	r.ahead.b = r.ahead.b[:size]
}
