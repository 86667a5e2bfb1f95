package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

// Many transactions change two counters together: no transaction sees or makes a state in which
// they differ.
func TestUpdateIsAtomic(t *testing.T) {
	f := newFixture(t)
	f.set("a", "0")
	f.set("b", "0")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				f.Update(true, func(tx *Tx) {
					both := tx.GetAll(keys("a", "b"), true)
					a, b := string(both[0].NPY()), string(both[1].NPY())
					both[0].Release()
					both[1].Release()
					if a != b {
						t.Errorf("a is %s while b is %s", a, b)
					}
					var n int
					fmt.Sscan(a, &n)
					for _, key := range []string{"a", "b"} {
						tx.Set(Write{Key: []byte(key), Value: f.value(fmt.Sprint(n + 1))})
					}
				})
			}
		})
	}
	all.Wait()
	f.want("a", "2000")
}

func TestMarkChangesWithTheKey(t *testing.T) {
	f := newFixture(t)
	missing := f.Mark([]byte("none"))
	seen := map[Mark]string{}
	for i, step := range []struct {
		name string
		do   func()
	}{
		{"missing", func() {}},
		{"set", func() { f.set("k", "x") }},
		{"set again", func() { f.set("k", "x") }},
		{"expire", func() { f.Expire([]byte("k"), f.now+10, ExpireCondition{}) }},
		{"set with a deadline", func() { f.set("k", "x", at(f.now+10)) }},
		{"persist", func() { f.Persist([]byte("k")) }},
	} {
		step.do()
		m := f.Mark([]byte("k"))
		if same, found := seen[m]; found {
			t.Errorf("%s has the mark of %s", step.name, same)
		}
		if seen[m] = step.name; (m == missing) != (i == 0) {
			t.Errorf("%s: %v", step.name, m)
		}
	}
	f.set("k", "x", at(f.now+10))
	f.now += 10
	gone := f.Mark([]byte("k"))
	if RemoveExpired(f.Shard, 10); f.Mark([]byte("k")) != gone {
		t.Error("a key that has expired changes when it is removed")
	}
	missing = f.Mark([]byte("none"))
	f.set("none", "x")
	if f.Delete(keys("none")); f.Mark([]byte("none")) == missing {
		t.Error("a key that was missing, came and went again has the same mark")
	}
	missing = f.Mark([]byte("none"))
	// Before a later epoch, another node may have set and deleted the key.
	f.Role().Close()
	must(t, 0, f.Role().Open(epoch+1, 0))
	if f.Mark([]byte("none")) == missing {
		t.Error("a missing key has the same mark in a later epoch")
	}
}

func TestIdle(t *testing.T) {
	f := newFixture(t)
	f.set("k", "x")
	idle := func() int64 {
		e := f.Peek([]byte("k"))
		defer e.Release()
		return e.Idle(f.now)
	}
	f.now += 5000
	f.Get([]byte("k"), false).Release()
	f.Exists(keys("k"), false)
	f.Expire([]byte("k"), f.now+1_000_000, ExpireCondition{})
	if n := idle(); n != 5 {
		t.Errorf("idle for %d s, want 5", n)
	}
	for _, touch := range []func(){
		func() { f.Get([]byte("k"), true).Release() },
		func() { f.Exists(keys("k"), true) },
		func() { f.set("k", "y") },
	} {
		f.now += 5000
		touch()
		if n := idle(); n != 0 {
			t.Errorf("idle for %d s after an access", n)
		}
	}
	before := f.index.counts.hits.Load() + f.index.counts.misses.Load()
	idle()
	if after := f.index.counts.hits.Load() + f.index.counts.misses.Load(); after != before {
		t.Error("a peek is counted")
	}
}

// The stats follow all operations: in the end they equal a count of all entries, and they are zero
// once all entries are gone.
func TestStatsEqualACountOfTheEntries(t *testing.T) {
	now := int64(1000)
	store, put := storeOf(t, &now)
	for range 3000 {
		key := fmt.Sprint("k", rand.IntN(100))
		sh := store.Shard(int(topology.ShardOfKey([]byte(key), 16)))
		switch rand.IntN(5) {
		case 0:
			sh.Delete([][]byte{[]byte(key)})
		case 1:
			sh.Expire([]byte(key), now+int64(rand.IntN(20)), ExpireCondition{})
		case 2:
			sh.Persist([]byte(key))
		case 3:
			now++
			RemoveExpired(sh, 10)
		default:
			put(key, 0)
		}
	}
	check := func() {
		t.Helper()
		keys, bytes, stats := map[int]int{}, map[int]int64{}, Stats{}
		left := int64(0)
		for _, sh := range store.shards {
			sh.index.table.each(func(e *Entry) bool {
				slot := topology.Slot(e.Key())
				keys[slot]++
				bytes[slot] += e.Footprint()
				stats.Keys++
				if e.ExpireAt() != 0 {
					stats.KeysWithTTL++
					left += e.ExpireAt() - now
				}
				return true
			})
		}
		for slot := range topology.Slots {
			if k, b := store.SlotStats(slot); k != keys[slot] || b != bytes[slot] {
				t.Errorf("slot %d: %d keys of %d bytes, there are %d of %d", slot, k, b, keys[slot], bytes[slot])
			}
		}
		var sized int64
		for _, n := range store.Sizes() {
			sized += n
		}
		if stats.KeysWithTTL > 0 {
			stats.AverageTTL = max(0, int64(math.Round(float64(left)/float64(stats.KeysWithTTL))))
		}
		if s := store.Stats(); s.Keys != stats.Keys || s.KeysWithTTL != stats.KeysWithTTL || s.AverageTTL != stats.AverageTTL || sized != int64(stats.Keys) {
			t.Errorf("%+v and %d sizes, there are %+v", s, sized, stats)
		}
	}
	check()
	if store.Stats().Keys == 0 {
		t.Error("nothing was stored")
	}
	store.Flush()
	check()
	store.ResetStats()
	if s := store.Stats(); s != (Stats{}) {
		t.Errorf("%+v after the reset", s)
	}
}
