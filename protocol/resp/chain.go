package resp

import "sync"

// Ref is a reference to bytes, which Release gives back. It is an alias so that other packages' interfaces
// of this shape convert without cost.
type Ref = interface{ Release() }

// Piece is a run of encoded bytes. Held keeps the bytes alive; it is nil for bytes that need no reference.
type Piece struct {
	b    []byte
	held Ref
}

// Chain is the encoded replies that are not sent yet, in order. Small replies are copied together in a
// tail; a large one is a piece of its own.
type Chain struct {
	// Invariant: bytes is the total length of pieces; tail follows them and is not counted.
	pieces []Piece
	tail   []byte
	own    *tailBuffer // holds tail; nil when tail is nil
	bytes  int64
}

// Mark is a position in a Chain.
type Mark struct{ pieces int }

// Len returns the bytes in the chain.
func (c *Chain) Len() int64 { return c.bytes + int64(len(c.tail)) }

// BufferBytes returns the bytes of memory allocated for small replies.
func (c *Chain) BufferBytes() int64 { return int64(cap(c.tail)) }

// space returns the tail, to append to.
func (c *Chain) space() []byte {
	if c.own == nil {
		c.own = tails.Get().(*tailBuffer)
		c.tail = c.own.b[:0]
	}
	return c.tail
}

// add adds bytes by reference, which the chain takes over.
func (c *Chain) add(b []byte, held Ref) {
	c.cut()
	c.pieces = append(c.pieces, Piece{b, held})
	c.bytes += int64(len(b))
}

// Append adds the pieces of another chain, and takes over their references.
func (c *Chain) Append(pieces []Piece) {
	c.cut()
	for _, p := range pieces {
		c.pieces = append(c.pieces, p)
		c.bytes += int64(len(p.b))
	}
}

// cut makes the tail a piece.
func (c *Chain) cut() {
	if len(c.tail) > 0 {
		c.own.b = c.tail
		c.pieces = append(c.pieces, Piece{c.tail, c.own})
		c.bytes += int64(len(c.tail))
		c.tail, c.own = nil, nil
	}
}

// Mark returns the current end of the chain, for Rollback.
func (c *Chain) Mark() Mark {
	c.cut()
	return Mark{len(c.pieces)}
}

// Rollback removes everything that was added after the mark.
func (c *Chain) Rollback(to Mark) {
	c.cut()
	for _, p := range c.pieces[to.pieces:] {
		c.bytes -= int64(len(p.b))
	}
	Release(c.pieces[to.pieces:])
	clear(c.pieces[to.pieces:])
	c.pieces = c.pieces[:to.pieces]
}

// Take empties the chain and returns its pieces with their references. The slice is valid until the next
// reply is written.
func (c *Chain) Take() []Piece {
	c.cut()
	taken := c.pieces
	c.pieces, c.bytes = c.pieces[:0], 0
	if cap(taken) > maxVector {
		c.pieces = nil
	}
	return taken
}

// tailBuffer is memory for small replies. Connections share it through tails.
type tailBuffer struct{ b []byte }

var tails = sync.Pool{New: func() any { return new(tailBuffer) }}

// maxTail is the capacity, in bytes, above which a tail is not reused.
const maxTail = 128 << 10

// Release gives the memory back once it is sent.
func (t *tailBuffer) Release() {
	if cap(t.b) <= maxTail {
		tails.Put(t)
	}
}

// Release releases the references of pieces.
func Release(pieces []Piece) {
	for _, p := range pieces {
		if p.held != nil {
			p.held.Release()
		}
	}
}
