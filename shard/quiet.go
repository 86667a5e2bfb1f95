package shard

import (
	"context"
	"time"

	"github.com/ndring/ndring/replica"
)

// A handover closes the gate until what is being written is committed, and a copy that comes into the ISR holds up each commit until it
// has what it lacks. With a large value under way that takes as long as the value travels, and every small write waits with it. So both
// wait for a quiet moment, and a large value that comes meanwhile waits for a proposed copy, so that it travels to that one, too.

// How long they wait.
const (
	quietTime    = 2 * time.Second
	quietStep    = 2 * time.Millisecond
	proposalTime = 200 * time.Millisecond
)

// writeLarge notes that large values of so many bytes are being written, until done is called.
func (w *writer) writeLarge(bytes int64) (done func()) {
	w.large.Add(bytes)
	return func() { w.large.Add(-bytes) }
}

// quiet reports whether no large value is being written and little is appended that is not committed.
func (w *writer) quiet() bool { return w.large.Load()+w.copy.held.Load() <= UploadBytes }

// awaitQuiet returns at a quiet moment, or after quietTime: a shard may never have one.
func (r *Role) awaitQuiet(ctx context.Context) {
	for began := time.Now(); !r.writer.quiet() && ctx.Err() == nil && time.Since(began) < quietTime; {
		time.Sleep(quietStep)
	}
}

// awaitProposed returns once no copy is proposed for the ISR, or soon.
func (c *localCopy) awaitProposed() {
	for began := time.Now(); c.gate.isOpen() && time.Since(began) < proposalTime; {
		if p := c.proposal(); p == nil || p.Kind != replica.Expand {
			return
		}
		time.Sleep(quietStep)
	}
}
