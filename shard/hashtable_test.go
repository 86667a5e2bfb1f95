package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The hash table behaves like a map under random operations.
func TestHashTableIsAMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t)
	pool := &f.store.tablePool
	var x hashTable
	model := map[string]*Entry{}
	for step := range 60_000 {
		// Grow for a while, then shrink, so that both happen.
		key := fmt.Sprint("key", r.IntN(3000))
		if grow := step/6000%2 == 0; r.IntN(10) < 7 == grow {
			v := f.value(key)
			e := newEntry(&f.pool, []byte(key), &v, 0, 0)
			if old := x.put(pool, e); old != model[key] {
				t.Fatalf("step %d: put returns %p, want %p", step, old, model[key])
			} else if old != nil {
				old.Release()
			}
			model[key] = e
		} else {
			e := x.remove(pool, []byte(key))
			if e != model[key] {
				t.Fatalf("step %d: remove returns %p, want %p", step, e, model[key])
			} else if e != nil {
				e.Release()
			}
			delete(model, key)
		}
		if x.count != len(model) || len(x.slots) > 64+20*len(model) {
			t.Fatalf("step %d: %d entries in %d slots, want %d", step, x.count, len(x.slots), len(model))
		}
		other := fmt.Sprint("key", r.IntN(3000))
		if e := x.get([]byte(other)); e != model[other] {
			t.Fatalf("step %d: get returns %p, want %p", step, e, model[other])
		} else if e != nil && !x.has(e, hashOf(e.Key())) {
			t.Fatalf("step %d: has does not find what get finds", step)
		}
	}
	seen := 0
	x.each(func(e *Entry) bool {
		if seen++; model[string(e.Key())] != e {
			t.Errorf("each finds %q", e.Key())
		}
		return true
	})
	if seen != len(model) {
		t.Errorf("each finds %d of %d", seen, len(model))
	}
	counts := map[string]int{}
	for range 20 * len(model) {
		x.random(1, func(e *Entry) { counts[string(e.Key())]++ })
	}
	if len(counts) < len(model)*9/10 {
		t.Errorf("random finds only %d of %d", len(counts), len(model))
	}
	for _, e := range model {
		x.remove(pool, e.Key())
		e.Release()
	}
	if x.memory != nil || pool.Buffers() != 0 {
		t.Error("an empty table holds memory")
	}
}

func BenchmarkGet(b *testing.B) {
	f := newFixture(b)
	const n = 100_000
	names := make([][]byte, n)
	for i := range names {
		names[i] = fmt.Appendf(nil, "key:%d", i)
		f.set(string(names[i]), "0123456789")
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f.Get(names[i], true).Release()
		if i++; i == n {
			i = 0
		}
	}
}

func BenchmarkSet(b *testing.B) {
	f := newFixture(b)
	const n = 100_000
	value := make([]byte, 1152)
	names := make([][]byte, n)
	for i := range names {
		names[i] = fmt.Appendf(nil, "key:%d", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f.Set(Write{Key: names[i], Value: Value{NPY: value}})
		if i++; i == n {
			i = 0
		}
	}
}
