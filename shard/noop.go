package shard

import "github.com/ndring/ndring/persistence"

// noOpInterval is how often a shard that is written to appends a no-op.
const noOpInterval = 1000 // ms

// noOps is what a writer knows of its no-ops. A no-op changes nothing. It carries the copy's time, so that no copy ever shows
// a key again that this one has hidden as expired, and the commit index.
type noOps struct {
	leader uint64 // leader epoch of the newest one
	time   int64  // Unix time in ms of the newest one
	next   [1]change

	asked   bool   // the rules of the copy want one, whatever the time
	askedIn uint64 // the newest leader epoch in which they wanted one
}

// noOpFor returns the no-op that precedes a change at a time, as a batch; nil for none. The first change of a leader epoch
// takes one along, and then the first after each noOpInterval, so it costs no write of its own. Without a log, a copy that is
// alone needs none: nothing outlives it. The caller holds writer.mu.
func (w *writer) noOpFor(now int64) []change {
	n := &w.noOps
	due := n.leader != w.copy.gate.LeaderEpoch() || now-n.time >= noOpInterval
	if !n.asked && !(due && (w.logged || !w.copy.gate.Alone())) {
		return nil
	}
	n.next[0] = change{kind: persistence.NoOp, time: now}
	return n.next[:]
}
