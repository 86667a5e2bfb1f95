package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
)

func storeOf(t *testing.T, now *int64) (*Store, func(key string, at int64)) {
	pool := new(memory.Pool)
	store := NewStore(16, epoch, func() int64 { return *now }, pool)
	t.Cleanup(func() {
		store.Flush()
		if pool.Buffers() != 0 {
			t.Errorf("%d buffers are still held", pool.Buffers())
		}
	})
	return store, func(key string, at int64) {
		id := int(topology.ShardOfKey([]byte(key), 16))
		store.Shard(id).Set(Write{Key: []byte(key), Value: Value{NPY: []byte("x")}, Expiry: Expiry{At: at}})
	}
}

// A scan ends. It returns keys that exist all the time exactly once, and a key that comes and goes
// at most once per incarnation.
func TestScanReturnsStableKeys(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, count := range []int{1, 10, 100, 100_000} {
		now := int64(1000)
		store, put := storeOf(t, &now)
		for i := range 2000 {
			put(fmt.Sprint("stays", i), 0)
			put(fmt.Sprint("{tag}stays", i), 0)
			put(fmt.Sprint("expired", i), 900)
		}
		seen := map[string]int{}
		calls := 0
		for cursor := uint64(0); ; calls++ {
			keys, next := store.Scan(cursor, count)
			for _, key := range keys {
				seen[key]++
			}
			for range 20 {
				put(fmt.Sprint("comes", r.IntN(500)), 0)
				gone := fmt.Sprint("comes", r.IntN(500))
				store.Shard(int(topology.ShardOfKey([]byte(gone), 16))).Delete([][]byte{[]byte(gone)})
			}
			if next == 0 {
				break
			}
			if next <= cursor {
				t.Fatalf("the cursor went from %d to %d", cursor, next)
			}
			cursor = next
		}
		for i := range 2000 {
			for _, key := range []string{fmt.Sprint("stays", i), fmt.Sprint("{tag}stays", i)} {
				if seen[key] != 1 {
					t.Fatalf("COUNT %d: %s was returned %d times in %d calls", count, key, seen[key], calls)
				}
			}
			if seen[fmt.Sprint("expired", i)] != 0 {
				t.Fatal("an expired key was returned")
			}
		}
	}
}

func TestScanOfEmptyStoreAndInvalidCursor(t *testing.T) {
	now := int64(1000)
	store, put := storeOf(t, &now)
	if keys, next := store.Scan(0, 10); len(keys) != 0 || next != 0 {
		t.Errorf("an empty store: %v, %d", keys, next)
	}
	put("k", 0)
	for _, cursor := range []uint64{1 << 46, 1<<64 - 1} {
		if keys, next := store.Scan(cursor, 10); len(keys) != 0 || next != 0 {
			t.Errorf("cursor %d: %v, %d", cursor, keys, next)
		}
	}
}

func TestKeysInSlot(t *testing.T) {
	now := int64(1000)
	store, put := storeOf(t, &now)
	put("{foo}1", 0)
	put("{foo}2", 0)
	put("{foo}3", 900)
	put("bar", 0)
	slot := topology.Slot([]byte("foo"))
	keys := store.KeysInSlot(slot, 10)
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"{foo}1", "{foo}2"}) {
		t.Error(keys)
	}
	if keys := store.KeysInSlot(slot, 1); len(keys) != 1 {
		t.Errorf("with a limit: %v", keys)
	}
}

func TestRandomKeyFindsEveryLiveKey(t *testing.T) {
	now := int64(1000)
	store, put := storeOf(t, &now)
	if key, ok := store.RandomKey(); ok {
		t.Errorf("an empty store has %s", key)
	}
	for i := range 300 {
		put(fmt.Sprint("expired", i), 900)
	}
	if key, ok := store.RandomKey(); ok {
		t.Errorf("an expired key was returned: %s", key)
	}
	for i := range 10 {
		put(fmt.Sprint("k", i), 0)
	}
	seen := map[string]bool{}
	for range 100_000 {
		key, ok := store.RandomKey()
		if !ok || key[0] != 'k' {
			t.Fatalf("%q, %v", key, ok)
		}
		if seen[key] = true; len(seen) == 10 {
			return
		}
	}
	t.Errorf("only %d of 10 keys were returned", len(seen))
}

// Two keys may have the same position. A cursor cannot separate them: a scan that stopped between
// them would return the first one forever.
func TestScanOfKeysAtOnePosition(t *testing.T) {
	t.Parallel()
	a, b := "{s}1371838", "{s}2000402" // same slot and same CRC32C
	if position([]byte(a)) != position([]byte(b)) {
		t.Fatal("the keys of this test have different positions")
	}
	now := int64(1000)
	store, put := storeOf(t, &now)
	want := []string{a, b}
	for i := range 40 { // puts the two at different places among the keys of a call
		want = append(want, fmt.Sprint("{s}", i))
	}
	for _, key := range want {
		put(key, 0)
	}
	for count := 1; count <= len(want); count++ {
		var seen []string
		for cursor, calls := uint64(0), 0; ; calls++ {
			keys, next := store.Scan(cursor, count)
			seen = append(seen, keys...)
			if cursor = next; next == 0 {
				break
			}
			if calls > len(want)+len(store.shards) {
				t.Fatalf("COUNT %d: the scan does not end", count)
			}
		}
		slices.Sort(seen)
		slices.Sort(want)
		if !slices.Equal(seen, want) {
			t.Fatalf("COUNT %d: %q, want each key once", count, seen)
		}
	}
}
