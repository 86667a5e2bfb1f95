package shard

import (
	"math/rand/v2"
	"sync/atomic"
)

// accessInfo records when and how often an entry is accessed. Concurrent readers may overwrite each
// other's update; losing one does not matter.
type accessInfo struct {
	at   atomic.Uint32 // time of the last access in units of accessTick; it wraps around every 497 days
	freq atomic.Uint32 // Redis' LFU: a logarithmic counter in the lowest 8 bits, above them the minute at which it was last lowered, and accessedBit
}

const (
	accessTick = 10     // ms
	minute     = 60_000 // ms
	lfuInitial = 5      // keeps a new entry from being the first to go
)

func (a *accessInfo) init(now int64) {
	a.at.Store(uint32(now / accessTick))
	a.freq.Store(packFreq(now, lfuInitial))
}

// inherit copies the frequency of the entry that this one replaces. Redis does the same: it counts
// accesses of the key.
func (a *accessInfo) inherit(old *accessInfo) { a.freq.Store(old.freq.Load()) }

func packFreq(now int64, counter uint32) uint32 { return uint32(now/minute)&minuteMask<<8 | counter }

// accessedBit of freq is set once the entry has been accessed.
const (
	accessedBit = 1 << 31
	minuteMask  = 1<<23 - 1 // 16 years
)

// touch records an access.
func (a *accessInfo) touch(now int64) {
	a.at.Store(uint32(now / accessTick))
	if freq := a.freq.Load(); freq&accessedBit == 0 {
		a.freq.Store(freq | accessedBit)
	}
}

func (a *accessInfo) accessed() bool { return a.freq.Load()&accessedBit != 0 }

// count counts an access as Redis does: the higher the counter, the less likely it is to grow.
func (a *accessInfo) count(now int64, logFactor, decay int) {
	counter := a.counter(now, decay)
	if counter < 255 {
		base := max(int64(counter)-lfuInitial, 0)
		if rand.Float64()*float64(base*int64(logFactor)+1) < 1 {
			counter++
		}
	}
	a.freq.Store(packFreq(now, counter) | a.freq.Load()&accessedBit)
}

// counter returns the frequency, lowered by one for every decay minutes without an access; 0 means
// never.
func (a *accessInfo) counter(now int64, decay int) uint32 {
	freq := a.freq.Load()
	counter := freq & 0xff
	if decay > 0 {
		passed := int64((uint32(now/minute) - freq>>8) & minuteMask)
		counter -= min(counter, uint32(min(passed/int64(decay), 255)))
	}
	return counter
}

// idle returns the time since the last access in units of accessTick.
func (a *accessInfo) idle(now int64) uint32 {
	idle := uint32(now/accessTick) - a.at.Load()
	if idle > 1<<31 { // the clock was set back
		return 0
	}
	return idle
}

// Idle returns how many seconds ago the entry was last accessed.
func (e *Entry) Idle(now int64) int64 { return int64(e.head().access.idle(now)) * accessTick / 1000 }
