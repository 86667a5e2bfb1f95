package shard

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// A cursor that waits for its turn holds no file and no entry, and goes on where it was.
func TestPausedCursorHoldsNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	p.lead(here) // alone, it commits what it appends
	for range 20 {
		p.lab.put(asked, 100<<10, 0) // the second batch is read from the log again
	}
	before := p.pool.Buffers()
	c, err := p.sh.Primary().ReadFrom(0)
	must(t, c, err)
	batches, last := 0, uint64(0)
	for {
		b, err := c.Next()
		if err == io.EOF {
			break
		}
		must(t, b, err)
		if b.Prev.Seq != last || b.Last.Seq <= last {
			t.Fatalf("a batch of %d to %d after %d", b.Prev.Seq, b.Last.Seq, last)
		}
		last = b.Last.Seq
		batches++
		c.Pause()
		if c.log != nil || p.pool.Buffers() != before {
			t.Fatalf("after batch %d the cursor holds a file (%v) or %d entries", batches, c.log != nil, p.pool.Buffers()-before)
		}
	}
	if batches < 3 || last != p.newest() {
		t.Errorf("%d batches up to %d, the log ends with %d", batches, last, p.newest())
	}
	c.Close()
	p.end()
}

// What a shard without a log appends while a whole copy is on its way is kept in memory: the copy must not take too long.
func TestACursorPressesForMemory(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	image, err := p.sh.Primary().Image()
	must(t, 0, err)
	defer image.Close()
	for n := 0; n*(200<<10) <= maxBacklog/4; n++ {
		if image.Cursor.Presses() {
			t.Fatalf("the cursor presses after %d values", n)
		}
		_, _, err := p.sh.Set(Write{Key: fmt.Appendf(nil, "key %d", n), Value: p.text(strings.Repeat("v", 200<<10))})
		must(t, 0, err)
		p.ack(p.newest())
	}
	if !image.Cursor.Presses() {
		t.Error("the cursor does not press though much is kept")
	}
}
