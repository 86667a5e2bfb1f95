package shard

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/replica"
)

// underway is how much of a shard's writes is under way.
//
// A handover closes the gate until what is being written is committed, and a copy that comes into the ISR holds up each commit until it
// has what it lacks. With a large value under way, or much that is not committed, that takes long, and every small write waits with it. So
// both wait for a quiet moment, and a large value that comes meanwhile waits for a proposed copy, so that it travels to that one, too.
type underway struct {
	writing atomic.Int64 // bytes of large values that are not appended yet
	copy    *localCopy   // has what is appended and not committed

	quietTime    time.Duration // for which they wait for a quiet moment
	proposalTime time.Duration // for which a large value waits for a proposed copy
}

const quietStep = 2 * time.Millisecond

func newUnderway(c *localCopy) underway {
	return underway{copy: c, quietTime: 2 * time.Second, proposalTime: 200 * time.Millisecond}
}

// begin notes that large values of so many bytes are being written, until done is called.
func (u *underway) begin(bytes int64) (done func()) {
	u.writing.Add(bytes)
	return func() { u.writing.Add(-bytes) }
}

func (u *underway) quiet() bool { return u.writing.Load()+u.copy.held.Load() <= UploadBytes }

// awaitQuiet returns at a quiet moment, once the gate is closed, or after quietTime: a shard may never have such a moment.
func (u *underway) awaitQuiet(ctx context.Context) {
	for began := time.Now(); !u.quiet() && u.copy.gate.isOpen() && ctx.Err() == nil && time.Since(began) < u.quietTime; {
		time.Sleep(quietStep)
	}
}

// awaitProposed returns once no copy is proposed for the ISR, or soon.
func (u *underway) awaitProposed() {
	for began := time.Now(); u.copy.gate.isOpen() && time.Since(began) < u.proposalTime; {
		if p := u.copy.proposal(); p == nil || p.Kind != replica.Expand {
			return
		}
		time.Sleep(quietStep)
	}
}
