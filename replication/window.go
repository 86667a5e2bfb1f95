package replication

import (
	"slices"
	"sync"
	"sync/atomic"
)

// The window: how much may be in flight to a peer, that is sent and not acknowledged, of all shards and of one. A shard that cannot go on
// must not hold up the others.
const (
	windowBytes  = 32 << 20
	windowShard  = windowBytes / 4
	windowFrames = 8192
)

// windowCatchUp is how much of the window catch-ups may take. What is appended leaves on the same connection behind it, and its
// writers wait.
const windowCatchUp = 512 << 10

// window counts what is in flight to a peer, of all its streams.
type window struct {
	bytes, frames atomic.Int64
	catchUp       atomic.Int64 // bytes of catch-ups, which bytes has too

	mu   sync.Mutex
	room chan struct{} // closed when there may be room; nil while no one waits
}

// inFlight is what is in flight of one stream.
type inFlight struct {
	window *window
	bytes  atomic.Int64
	marks  []mark // guarded by peer.mu
}

// mark is a frame that is not acknowledged.
type mark struct {
	seq     uint64
	bytes   int
	catchUp bool // of a catch-up
}

// add counts a frame as in flight. The caller holds peer.mu.
func (f *inFlight) add(seq uint64, bytes int, catchUp bool) {
	f.marks = append(f.marks, mark{seq, bytes, catchUp})
	if catchUp {
		f.window.catchUp.Add(int64(bytes))
	}
	f.bytes.Add(int64(bytes))
	f.window.bytes.Add(int64(bytes))
	f.window.frames.Add(1)
}

// usualMarks is how many frames of a stream are usually in flight at most.
const usualMarks = 64

// forget counts frames up to a seq as in flight no longer. The caller holds peer.mu.
func (f *inFlight) forget(upTo uint64) {
	n, bytes, catchUp := 0, 0, 0
	for n < len(f.marks) && f.marks[n].seq <= upTo {
		bytes += f.marks[n].bytes
		if f.marks[n].catchUp {
			catchUp += f.marks[n].bytes
		}
		n++
	}
	if n == 0 {
		return
	}
	switch rest := len(f.marks) - n; {
	case rest <= usualMarks && cap(f.marks) <= 2*usualMarks: // the same memory is used again and again
		f.marks = slices.Delete(f.marks, 0, n)
	case rest == 0:
		f.marks = nil
	default: // moving the rest each time would be slow
		f.marks = f.marks[n:]
	}
	f.bytes.Add(-int64(bytes))
	f.window.bytes.Add(-int64(bytes))
	f.window.frames.Add(-int64(n))
	f.window.catchUp.Add(-int64(catchUp))
	f.window.wakeWaiters()
}

// wakeWaiters ends the waits for room.
func (w *window) wakeWaiters() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
}

// full reports whether the window has no room for more of the stream.
func (f *inFlight) full() bool {
	return f.bytes.Load() >= windowShard || f.window.bytes.Load() >= windowBytes || f.window.frames.Load() >= windowFrames
}

// fullOfCatchUps reports whether the window has no room for more of a catch-up of the stream.
func (f *inFlight) fullOfCatchUps() bool { return f.full() || f.window.catchUp.Load() >= windowCatchUp }

// awaitRoom returns a channel that is closed when there may be room, which full looks for; nil if there is room now.
func (w *window) awaitRoom(full func() bool) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !full() {
		return nil
	}
	if w.room == nil {
		w.room = make(chan struct{})
	}
	return w.room
}
