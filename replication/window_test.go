package replication

import (
	"math"
	"testing"
)

// Catch-ups take a small part of the window: what is appended finds room, and waits behind little.
func TestCatchUpsLeaveRoom(t *testing.T) {
	t.Parallel()
	var w window
	slow, fast := &inFlight{window: &w}, &inFlight{window: &w}
	for seq := uint64(1); !slow.fullOfCatchUps(); seq++ {
		slow.add(seq, 64<<10, true)
	}
	if n := w.bytes.Load(); n > windowCatchUp+64<<10 {
		t.Errorf("catch-ups have %d bytes in flight", n)
	}
	if w.awaitRoom(slow.fullOfCatchUps) == nil || !fast.fullOfCatchUps() {
		t.Error("a catch-up need not wait")
	}
	if fast.full() || slow.full() || w.awaitRoom(fast.full) != nil {
		t.Error("what is appended has to wait")
	}
	fast.add(1, 100, false)
	room := w.awaitRoom(slow.fullOfCatchUps)
	slow.forget(1)
	select {
	case <-room:
	default:
		t.Error("nothing has ended the wait")
	}
	if slow.fullOfCatchUps() {
		t.Error("an acknowledgement has made no room")
	}
	slow.forget(math.MaxUint64)
	fast.forget(math.MaxUint64)
	if w.bytes.Load() != 0 || w.frames.Load() != 0 || w.catchUp.Load() != 0 || len(slow.marks) != 0 {
		t.Errorf("%d bytes, %d frames and %d of catch-ups are left", w.bytes.Load(), w.frames.Load(), w.catchUp.Load())
	}
}
