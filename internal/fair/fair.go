// Package fair makes goroutines that move megabytes leave time to those with small requests.
//
// Two things make small requests wait. Go's scheduler looks for network events when a thread has nothing else to do: a goroutine
// that makes one long system call after another never lets its thread become idle, and a checksum, which is computed in assembly,
// cannot be interrupted, so a request may wait until the runtime's monitor looks, up to 10 ms later. And the kernel lets a thread that
// computes, copies or clears memory run for some milliseconds before one that has just been woken.
package fair

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Piece is how many bytes to move at most before Yield is called.
const Piece = 1 << 20

// least is how many bytes must have been moved for a pause: less takes a few microseconds.
const least = 64 << 10

// Yield lets goroutines of this process, and then threads of all processes, run after so many bytes were moved at once. It costs a
// microsecond if no other waits.
func Yield(moved int) {
	if moved >= least {
		runtime.Gosched()
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // it never fails
	}
}
