// Package boottime tells the time since the machine booted. Leases and the waits for their end count by it:
// unlike the wall clock it cannot be set, and unlike Go's own monotonic clock it goes on while the machine is
// suspended, so that a lease does not outlive a suspension. It imports nothing of ndring.
package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

var start = time.Now()

// Now returns the nanoseconds since the machine booted.
func Now() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil { // a sandbox that does not know this clock
		return int64(time.Since(start))
	}
	return t.Nano()
}
