package protocol

import (
	"context"
	"errors"
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// written is what a connection has written, for WAIT. The zero value is nothing.
type written struct {
	shards []uint64          // a bit for each shard that it has written to; nil before the first write
	newest map[int]appending // by shard: the newest write, where that is known. In a shard with one copy it is not
}

// appending is a place in the log of a shard.
type appending struct{ leader, seq uint64 }

// add notes the shards that a command has written to. It has just ended; a command without keys writes to all shards.
func (w *written) add(k *call, h *heldShard, r *router) {
	switch {
	case k.slot == noSlot:
		for id := range r.cluster.Topology().Shards {
			if of := r.store.Shard(id); of.Serving() {
				w.change(of, shard.Future{})
			}
		}
	case h.Shard != nil: // within EXEC it is nil
		w.change(h.Shard, h.future)
	}
}

// change notes a write to a shard.
func (w *written) change(of *shard.Shard, f shard.Future) {
	id := of.Copies().ID()
	if id/64 >= len(w.shards) {
		w.shards = append(w.shards, make([]uint64, id/64+1-len(w.shards))...)
	}
	w.shards[id/64] |= 1 << (id % 64)
	if leader, seq := f.Change(); seq != 0 {
		if w.newest == nil {
			w.newest = map[int]appending{}
		}
		w.newest[id] = appending{leader, seq}
	} else if w.newest != nil {
		delete(w.newest, id)
	}
}

// target is a write that WAIT looks for in other copies.
type target struct {
	shard *shard.Shard
	appending
}

// targets returns the newest write to each shard; of shards where it is not known, all that they have now. Without writes these
// are the beginnings of all shards that this node serves. It returns false if another node has taken one over.
func (w *written) targets(r *router) (all []target, ok bool) {
	for id := range r.cluster.Topology().Shards {
		of := r.store.Shard(id)
		leader, seq, leads := of.Copies().Appended()
		at, known := w.newest[id]
		switch {
		case w.shards == nil && leads && of.Serving():
			all = append(all, target{of, appending{leader: leader}})
		case id/64 >= len(w.shards) || w.shards[id/64]&(1<<(id%64)) == 0:
		case !leads:
			return nil, false
		case known:
			all = append(all, target{of, at})
		default:
			all = append(all, target{of, appending{leader, seq}})
		}
	}
	return all, true
}

// copiesOf returns the least number of other copies that have one of the targets. It returns false if another
// primary may have taken over, so that more will never be known.
func copiesOf(targets []target) (least int, ok bool) {
	least = math.MaxInt
	for _, t := range targets {
		n, leads := t.shard.Copies().Acknowledged(t.leader, t.seq)
		if !leads {
			return 0, false
		}
		least = min(least, n)
	}
	if len(targets) == 0 {
		return 0, true
	}
	return least, true
}

// How long WAIT waits at most, how often it looks at the acknowledgements meanwhile, and how often whether the client
// is still there.
const (
	maxWait     = 24 * time.Hour
	copiesStep  = 2 * time.Millisecond
	clientEvery = 500 // steps
)

// awaitCopies waits until so many other copies have what the connection has written, and returns how many have. It waits for a time,
// or, if that is zero, until the client is gone.
func awaitCopies(c *conn, copies int64, limit time.Duration) int {
	targets, ok := c.written.targets(c.server.router)
	if !ok {
		return 0
	}
	n, ok := copiesOf(targets)
	if !ok || int64(n) >= copies {
		return n
	}
	if c.flush() != nil { // earlier replies need not wait
		return n
	}
	if limit == 0 {
		limit = maxWait
	}
	ctx, end := context.WithTimeout(c.unsettled.waits, limit)
	defer end()
	c.server.tracker.rest(c)
	defer c.server.tracker.resume(c)
	return pollCopies(ctx, c.nc, targets, copies)
}

// pollCopies looks at the targets until so many copies have them, ctx is done, or the client is gone.
func pollCopies(ctx context.Context, client net.Conn, targets []target, copies int64) int {
	ticker := time.NewTicker(copiesStep)
	defer ticker.Stop()
	for step := 1; ; step++ {
		n, ok := copiesOf(targets)
		if !ok || int64(n) >= copies || step%clientEvery == 0 && abandoned(client) {
			return n
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			n, _ = copiesOf(targets)
			return n
		}
	}
}

// abandoned reports whether a client has closed its connection and everything that it has sent is read.
func abandoned(client net.Conn) bool {
	ending := 1 // bytes that say no more than the end of the connection does, and one
	if secure, ok := client.(*resp.TLSConn); ok {
		client, ending = secure.Socket(), maxCloseNotify+1
	}
	socket, ok := client.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var b [maxCloseNotify + 1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:ending], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		retry := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
		gone = err == nil && n == 0 || err != nil && !retry || n > 0 && n < ending && halfClosed(int(fd))
	})
	return gone || err != nil
}

// maxCloseNotify is the most bytes of TLS that say that nothing follows.
const maxCloseNotify = 31

// halfClosed reports whether a client sends nothing after what has arrived.
func halfClosed(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&unix.POLLRDHUP != 0
}
