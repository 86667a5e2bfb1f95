package replication

import (
	"slices"
	"sync"
	"sync/atomic"
)

// The window: how much may be on its way to a peer without an acknowledgement, of all shards and of one. A shard that cannot go on
// must not hold up the others.
const (
	windowBytes  = 32 << 20
	windowShard  = windowBytes / 4
	windowFrames = 8192
)

// window is what is on its way to a peer without an acknowledgement, of all its streams.
type window struct {
	bytes, frames atomic.Int64

	mu   sync.Mutex
	room chan struct{} // closed when there may be room; nil while no one waits
}

// onWay is what is on its way of one stream.
type onWay struct {
	window *window
	bytes  atomic.Int64
	marks  []mark // guarded by peer.mu
}

// mark is a frame that is not acknowledged.
type mark struct {
	seq   uint64
	bytes int
}

// add notes that a frame is on its way. The caller holds peer.mu.
func (o *onWay) add(seq uint64, bytes int) {
	o.marks = append(o.marks, mark{seq, bytes})
	o.bytes.Add(int64(bytes))
	o.window.bytes.Add(int64(bytes))
	o.window.frames.Add(1)
}

// usualMarks is how many frames are usually on their way at most.
const usualMarks = 64

// forget notes that frames up to a seq are not on their way any more. The caller holds peer.mu.
func (o *onWay) forget(upTo uint64) {
	n, bytes := 0, 0
	for n < len(o.marks) && o.marks[n].seq <= upTo {
		bytes += o.marks[n].bytes
		n++
	}
	if n == 0 {
		return
	}
	switch rest := len(o.marks) - n; {
	case rest <= usualMarks && cap(o.marks) <= 2*usualMarks: // the same memory is used again and again
		o.marks = slices.Delete(o.marks, 0, n)
	case rest == 0:
		o.marks = nil
	default: // moving the rest each time would be slow
		o.marks = o.marks[n:]
	}
	o.bytes.Add(-int64(bytes))
	o.window.bytes.Add(-int64(bytes))
	o.window.frames.Add(-int64(n))
	o.window.tell()
}

// tell ends the waits for room.
func (w *window) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
}

// full reports whether the window has no room for more of the stream.
func (o *onWay) full() bool {
	return o.bytes.Load() >= windowShard || o.window.bytes.Load() >= windowBytes || o.window.frames.Load() >= windowFrames
}

// awaitRoom returns a channel that is closed when there may be room; nil if there is room now.
func (o *onWay) awaitRoom() <-chan struct{} {
	w := o.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if !o.full() {
		return nil
	}
	if w.room == nil {
		w.room = make(chan struct{})
	}
	return w.room
}
