package main

import (
	"container/heap"
	"container/list"

	"github.com/maypok86/otter/v2"
)

// Simulated policies that keep an exact order, which sampling approximates.

// exactLRU evicts the least recently used key.
func exactLRU(t *trace, capacity int64, cost func(uint32) int64) result {
	order := list.New()
	places := make([]*list.Element, len(t.sizes))
	var r result
	for _, key := range t.requests {
		if place := places[key]; place != nil {
			r.hits++
			r.hitBytes += int64(t.sizes[key])
			order.MoveToFront(place)
			continue
		}
		places[key] = order.PushFront(key)
		r.used += cost(key)
		for r.used > capacity {
			victim := order.Remove(order.Back()).(uint32)
			places[victim] = nil
			r.used -= cost(victim)
		}
	}
	r.keys = order.Len()
	return r
}

// exactLFU evicts the key with the fewest uses since it was stored, and among those the least
// recently used. As in Redis, it may evict the new key, which has one use.
func exactLFU(t *trace, capacity int64, cost func(uint32) int64) result {
	order := &frequencies{entries: make([]frequency, len(t.sizes))}
	for i := range order.entries {
		order.entries[i].at = -1
	}
	var r result
	for i, key := range t.requests {
		e := &order.entries[key]
		e.used = i
		if e.at >= 0 {
			r.hits++
			r.hitBytes += int64(t.sizes[key])
			e.times++
			heap.Fix(order, e.at)
			continue
		}
		e.times = 1
		heap.Push(order, key)
		r.used += cost(key)
		for r.used > capacity {
			r.used -= cost(heap.Pop(order).(uint32))
		}
	}
	r.keys = order.Len()
	return r
}

type frequency struct{ at, times, used int }

// frequencies is a heap, the next victim first.
type frequencies struct {
	entries []frequency
	keys    []uint32
}

func (f *frequencies) Len() int { return len(f.keys) }

func (f *frequencies) Less(i, j int) bool {
	a, b := f.entries[f.keys[i]], f.entries[f.keys[j]]
	if a.times != b.times {
		return a.times < b.times
	}
	return a.used < b.used
}

func (f *frequencies) Swap(i, j int) {
	f.keys[i], f.keys[j] = f.keys[j], f.keys[i]
	f.entries[f.keys[i]].at, f.entries[f.keys[j]].at = i, j
}

func (f *frequencies) Push(x any) {
	key := x.(uint32)
	f.entries[key].at = len(f.keys)
	f.keys = append(f.keys, key)
}

func (f *frequencies) Pop() any {
	last := len(f.keys) - 1
	key := f.keys[last]
	f.keys = f.keys[:last]
	f.entries[key].at = -1
	return key
}

// wTinyLFU is the adaptive W-TinyLFU of otter. It does its maintenance within each call, so a run
// behaves like a sequential program; CleanUp after every request would be slower without a visible
// difference.
func wTinyLFU(t *trace, capacity int64, cost func(uint32) int64) result {
	cache := otter.Must(&otter.Options[uint32, struct{}]{
		MaximumWeight: uint64(capacity),
		Weigher:       func(key uint32, _ struct{}) uint32 { return uint32(cost(key)) },
		Executor:      func(work func()) { work() },
	})
	defer cache.StopAllGoroutines()
	var r result
	for _, key := range t.requests {
		if _, ok := cache.GetIfPresent(key); ok {
			r.hits++
			r.hitBytes += int64(t.sizes[key])
			continue
		}
		cache.Set(key, struct{}{})
	}
	cache.CleanUp()
	r.keys, r.used = cache.EstimatedSize(), int64(cache.WeightedSize())
	return r
}
