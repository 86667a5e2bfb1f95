package shard

import "math"

// copies is what a shard knows of its copies.
type copies struct{ writer *writer }

// Alone reports whether what this shard appends is committed at once, because no other copy has to acknowledge it.
// Then reads need no lease.
func (c *copies) Alone() bool { return true }

// Leased returns until when the shard may answer reads, in nanoseconds of the clock that now is of; false if it may
// not.
func (c *copies) Leased(now int64) (until int64, ok bool) { return math.MaxInt64, true }

// LeaderEpoch returns the epoch in which this node last became the shard's primary. Like Epoch, it does not change
// between Acquire and Release; unlike it, a change of the ISR alone leaves it as it is.
func (c *copies) LeaderEpoch() uint64 { return c.writer.epoch.Load() }
