package protocol

import (
	"context"
	"slices"

	"github.com/ndring/ndring/shard"
)

// unsettled are the replies that a connection has written and must not send before they are settled: what
// a command changed must be committed, and what a command only read needs the lease of its shard.
//
// No handler waits for that, because it holds the gate of its shard: a later epoch may have to close the
// gate before the wait can end. So the connection waits when it sends replies, once for all of them.
type unsettled struct {
	replies  []unsettledReply // in the order in which they were written
	keys     []byte           // the first key of each, for the slow log
	changes  int              // those that wait for a commit
	latch    shard.Latch
	waits    context.Context    // of all waits; ends with the connection, or soon after the server stops
	endWaits context.CancelFunc // others may call it
}

// unsettledReply is one of them. A command that changed one shard has its future, and one that changed
// several has futures.
type unsettledReply struct {
	future  shard.Future
	futures []shard.Future

	read   *shard.Shard // whose lease the reply needs; nil for none
	epoch  uint64       // leader epoch of read at the look-up
	asked  int64        // when a round to the ISR began for the reply, by Store.Monotonic; 0: the lease is enough
	leased bool         // read had its lease, or the round was over, when that was last checked
	copy   shardRef     // of another node's shard, that the command read; else zero

	from, to int64 // offsets in what the connection sends; equal if the client gets no reply
	key      span  // in unsettled.keys
	result
}

// span is a run of bytes.
type span struct{ from, to int }

// maxUnsettled is the number of unsettled replies at which a connection sends replies, although more
// commands are waiting.
const maxUnsettled = 1024

// maxUnsettledKept is the number of unsettled replies for which a connection keeps memory.
const maxUnsettledKept = 64

// add adds the reply to a command that has ended, if it must be settled.
func (u *unsettled) add(k *call, r result, from, to int64) {
	reply := unsettledReply{futures: k.futures, read: k.read, copy: k.copy, from: from, to: to, result: r}
	if reply.future, reply.epoch = k.future.Parts(); reply.epoch != 0 {
		reply.read = k.future.Shard()
	} else if k.read != nil {
		reply.epoch = k.read.LeaderEpoch()
	}
	if reply.read != nil {
		reply.asked = reply.read.Copies().AskISR()
	}
	if len(k.keys) > 0 {
		at := len(u.keys)
		u.keys = append(u.keys, k.keys[0][:min(len(k.keys[0]), slowlogArgBytes)]...)
		reply.key = span{at, len(u.keys)}
	}
	if reply.future.AwaitsCommit() || slices.ContainsFunc(reply.futures, shard.Future.AwaitsCommit) {
		u.changes++
	}
	u.replies = append(u.replies, reply)
}

// args returns what the slow log shows of a command: its name and its first key. The other arguments
// are gone by then.
func (u *unsettled) args(r *unsettledReply) []string {
	shown := []string{upper(r.row.Name)}
	if r.key.from < r.key.to {
		shown = append(shown, string(u.keys[r.key.from:r.key.to]))
	}
	return shown
}

// visible reports whether readers see what the command changed in a shard.
func (r *unsettledReply) visible(of *shard.Shard) bool {
	if r.future.Shard() == of && !r.future.Visible() {
		return false
	}
	for _, f := range r.futures {
		if f.Shard() == of && !f.Visible() {
			return false
		}
	}
	return true
}

// hide reports whether the connection has changed a shard and cannot see that yet.
func (u *unsettled) hide(of *shard.Shard) bool {
	if u.changes == 0 {
		return false
	}
	for i := len(u.replies) - 1; i >= 0; i-- {
		if !u.replies[i].visible(of) {
			return true
		}
	}
	return false
}

// drop forgets the replies: they are to commands after which the client gets none. What these changed is waited for
// all the same.
func (u *unsettled) drop() {
	for i := len(u.replies) - 1; i >= 0 && u.replies[i].from < u.replies[i].to; i-- {
		u.replies[i].to = u.replies[i].from
	}
}

// written reports whether a reply to the client is among them. Replies that a client has turned off come
// before all that it gets: replyMode.suppress settles first.
func (u *unsettled) written() bool {
	n := len(u.replies)
	return n > 0 && u.replies[n-1].from < u.replies[n-1].to
}

// reset forgets all.
func (u *unsettled) reset() {
	clear(u.replies)
	u.replies, u.keys, u.changes = u.replies[:0], u.keys[:0], 0
	if cap(u.replies) > maxUnsettledKept {
		u.replies, u.keys = nil, nil
	}
}
