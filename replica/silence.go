package replica

import "time"

// Times are how long leases hold and how long copies wait. All nodes of a cluster must agree on them.
type Times struct {
	// Lease is L: the time for which a primary counts on an acknowledged heartbeat, from when it sent it.
	Lease int64 // ns
	// Silence is G: the time after its last acknowledgement after which a member reports, together with
	// SilenceTicks. It exceeds L by far more than clocks drift apart.
	Silence int64 // ns
	// SilenceTicks is the number of own ticks that must have passed as well. A process that was
	// stopped finds much time gone by, and has heard no other process because it did not run itself.
	SilenceTicks uint64
	// LagTicks is the number of ticks after which a primary proposes to remove a silent member (R7).
	LagTicks uint16
	// LateTick is the time between two ticks above which the later one does not count against members.
	LateTick int64 // ns
	// Return is how long a removed member stays out of the ISR; it doubles up to MaxReturn (R5).
	Return, MaxReturn int64 // ns
}

// DefaultTimes is what New gives to each Copy. Only tests change it, before they start anything.
var DefaultTimes = Times{
	Lease: int64(500 * time.Millisecond), Silence: int64(700 * time.Millisecond), SilenceTicks: 28,
	LagTicks: 20, LateTick: int64(75 * time.Millisecond), Return: int64(time.Second), MaxReturn: int64(time.Minute),
}

// instant is a time together with the number of ticks until then.
type instant struct {
	at   int64
	tick uint64
}

// silent reports whether G has passed since, by the clock and by ticks (M6).
func (t *Times) silent(since instant, now int64, tick uint64) bool {
	return now-since.at >= t.Silence && tick-since.tick >= t.SilenceTicks
}
