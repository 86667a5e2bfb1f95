package shard

import (
	"math/rand/v2"
	"sync/atomic"
)

// use is what an entry knows of its use. Readers write it side by side; if two meet, one of them is lost, which does not matter.
type use struct {
	at   atomic.Uint32 // time of the last use, in units of useTick; it begins anew every 497 days
	freq atomic.Uint32 // Redis' LFU: a logarithmic counter in the lowest 8 bits, above them the minute at which it was last lowered; hitBit
}

const (
	useTick    = 10     // ms
	minute     = 60_000 // ms
	lfuInitial = 5      // so that a new entry is not the first to go
)

func (u *use) begin(now int64) {
	u.at.Store(uint32(now / useTick))
	u.freq.Store(packFreq(now, lfuInitial))
}

// inherit gives a value that replaces another its frequency: Redis does the same, since it is the key that is used.
func (u *use) inherit(old *use) { u.freq.Store(old.freq.Load()) }

func packFreq(now int64, counter uint32) uint32 { return uint32(now/minute)&minuteMask<<8 | counter }

// hitBit of freq says that somebody has used the entry since it came.
const (
	hitBit     = 1 << 31
	minuteMask = 1<<23 - 1 // 16 years
)

// touch notes a use.
func (u *use) touch(now int64) {
	u.at.Store(uint32(now / useTick))
	if freq := u.freq.Load(); freq&hitBit == 0 {
		u.freq.Store(freq | hitBit)
	}
}

func (u *use) hit() bool { return u.freq.Load()&hitBit != 0 }

// count counts a use, as Redis does: the higher the counter, the less likely it is to grow.
func (u *use) count(now int64, logFactor, decay int) {
	counter := u.counter(now, decay)
	if counter < 255 {
		base := max(int64(counter)-lfuInitial, 0)
		if rand.Float64()*float64(base*int64(logFactor)+1) < 1 {
			counter++
		}
	}
	u.freq.Store(packFreq(now, counter) | u.freq.Load()&hitBit)
}

// counter returns the frequency, lowered by one for each decay minutes in which nobody used the entry; never for 0.
func (u *use) counter(now int64, decay int) uint32 {
	freq := u.freq.Load()
	counter := freq & 0xff
	if decay > 0 {
		passed := int64((uint32(now/minute) - freq>>8) & minuteMask)
		counter -= min(counter, uint32(min(passed/int64(decay), 255)))
	}
	return counter
}

// idle returns for how many units of useTick nobody has used the entry.
func (u *use) idle(now int64) uint32 {
	idle := uint32(now/useTick) - u.at.Load()
	if idle > 1<<31 { // the clock went back
		return 0
	}
	return idle
}

// Idle returns for how many seconds nobody has used the entry.
func (e *Entry) Idle(now int64) int64 { return int64(e.head().use.idle(now)) * useTick / 1000 }
