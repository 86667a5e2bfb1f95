package replication

import (
	"sync"

	"github.com/ndring/ndring/shard"
)

// outgoing are encoded frames, in order. Small frames share a buffer. A batch that its sender has prepared stays where
// it is: peer.mu, for which every writer and every heartbeat waits, is never held while megabytes are copied.
type outgoing struct {
	linked bool     // a connection is there; otherwise frames are dropped
	pieces [][]byte // complete
	last   []byte   // follows them, and takes more frames
	spare  []byte   // memory for the next last
}

// pieceBytes is how long a piece of small frames becomes before another begins. It bounds what growing a piece copies.
const pieceBytes = 256 << 10

// add encodes a frame.
func (o *outgoing) add(f *frame) {
	if !o.linked {
		return
	}
	if len(o.last) >= pieceBytes {
		o.seal()
	}
	o.last = f.appendTo(o.last)
}

// addPrepared takes a frame with a body from prepare, whose memory it keeps.
func (o *outgoing) addPrepared(f *frame, b []byte) {
	if !o.linked {
		return
	}
	o.seal()
	f.putHead(b)
	o.pieces = append(o.pieces, b)
}

func (o *outgoing) seal() {
	if len(o.last) > 0 {
		o.pieces = append(o.pieces, o.last)
		o.last = nil
	}
}

// take returns all pieces.
func (o *outgoing) take() [][]byte {
	o.seal()
	all := o.pieces
	o.pieces = nil
	if o.last == nil {
		o.last, o.spare = o.spare[:0], nil
	}
	return all
}

// maxKept is how large a buffer is that is used again.
const maxKept = 4 << 20

// giveBack uses the memory of a piece again.
func (o *outgoing) giveBack(b []byte) {
	switch {
	case cap(b) > maxKept:
	case o.spare == nil:
		o.spare = b
	default:
		prepared.Put(&b)
	}
}

// sendAt is how many bytes of small frames may wait before they are sent unasked.
const sendAt = 64 << 10

// long reports whether so much waits that it is sent unasked.
func (o *outgoing) long() bool { return len(o.pieces) > 0 || len(o.last) >= sendAt }

func (o *outgoing) empty() bool { return len(o.pieces) == 0 && len(o.last) == 0 }

// prepared are buffers of batches that were sent. A new one for each batch would keep the garbage collector busy during a catch-up.
var prepared sync.Pool

// prepare copies a batch behind room for the head of its frame.
func prepare(b *shard.Batch) []byte {
	n := headBytes + len(b.Bytes)
	if kept, _ := prepared.Get().(*[]byte); kept != nil && cap(*kept) >= n {
		return append((*kept)[:headBytes], b.Bytes...)
	}
	return append(make([]byte, headBytes, n+n/8), b.Bytes...)
}
