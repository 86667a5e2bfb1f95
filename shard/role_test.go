package shard

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
)

// A shard is closed and opened repeatedly under a stream of commands: no command is inside once
// Close has returned, and the epoch is constant while one is.
func TestNoCommandInsideClosedShard(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sh := f.Shard
	var inside, entered, refused atomic.Int64
	var guests sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		guests.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				opened := sh.Role().WhenOpen()
				if !sh.Acquire() {
					refused.Add(1)
					select {
					case <-opened:
					case <-stop:
					}
					continue
				}
				inside.Add(1)
				before := sh.Epoch()
				entered.Add(1)
				if sh.Epoch() != before {
					t.Error("the epoch has changed while a command was inside")
				}
				inside.Add(-1)
				sh.Release()
				runtime.Gosched()
			}
		})
	}
	for i := range uint64(200) {
		refusedBefore := refused.Load()
		if i%2 == 0 {
			sh.Role().Close()
			sh.Role().Close()
		} else if !sh.Role().CloseIfEmpty(sh.Epoch()) {
			t.Fatal("CloseIfEmpty has not closed the empty shard")
		}
		for range 3 {
			if n := inside.Load(); n != 0 || sh.Serving() || sh.Acquire() {
				t.Fatalf("%d are inside, serving: %v", n, sh.Serving())
			}
		}
		if i%10 == 0 {
			eventually(t, "a command is refused", func() bool { return refused.Load() > refusedBefore })
		}
		before := entered.Load()
		must(t, 0, sh.Role().Open(epoch+1+i, 0))
		eventually(t, "a command enters again", func() bool { return entered.Load() > before })
	}
	close(stop)
	guests.Wait()
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(10 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout: %s", what)
		}
	}
}

// Writers store and delete while the shard is handed over: a shard that CloseIfEmpty has closed
// never has an acknowledged value.
func TestHandoverLosesNoWrite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sh := f.Shard
	var stored atomic.Int64 // entries whose writes were acknowledged
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		key := []byte(fmt.Sprint("key", i))
		writers.Go(func() {
			there := false
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !sh.Acquire() {
					time.Sleep(10 * time.Microsecond)
					continue
				}
				if there {
					stored.Add(-1) // before: an entry being deleted may exist or not
					must(t, 0, func() error { _, err := settled(sh.Delete([][]byte{key})); return err }())
				} else {
					must(t, 0, func() error { _, err := settled(sh.Set(Write{Key: key, Value: f.value("x")})); return err }())
					stored.Add(1)
				}
				there = !there
				sh.Release()
			}
		})
	}
	closed, refused := 0, 0
	for closed < 100 || refused < 100 {
		if !sh.Role().CloseIfEmpty(sh.Epoch()) {
			refused++
			if !sh.Serving() {
				t.Fatal("CloseIfEmpty has closed a shard with entries")
			}
			continue
		}
		closed++
		if n := stored.Load(); n != 0 {
			t.Fatalf("%d acknowledged entries are in a shard that was handed over", n)
		}
		if sh.Acquire() {
			t.Fatal("it is open")
		}
		sh.Role().Reopen()
	}
	close(stop)
	writers.Wait()
}

func TestOpenChecksTheEpoch(t *testing.T) {
	var pool memory.Pool
	sh := NewClosedStore(16, func() int64 { return 1 }, &pool).Shard(3)
	wantErr := func(want, err error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	wantServing := func(want bool, epoch uint64) {
		t.Helper()
		if sh.Serving() != want || sh.Epoch() != epoch {
			t.Errorf("serving is %v in epoch %d, want %v in %d", sh.Serving(), sh.Epoch(), want, epoch)
		}
	}
	wantServing(false, 0)
	if sh.Role().CloseIfEmpty(sh.Epoch()) {
		t.Error("CloseIfEmpty has closed a closed shard")
	}
	sh.Role().Reopen()
	wantServing(false, 0)
	wantErr(ErrEpoch, sh.Role().Open(0, 0))
	wantErr(nil, sh.Role().Open(5, 5))
	wantServing(true, 5)
	wantErr(nil, sh.Role().Open(5, 5))
	wantErr(ErrEpoch, sh.Role().Open(4, 0))
	wantServing(true, 5)
	wantErr(nil, sh.Role().Open(6, 5)) // without a Close: the ISR has changed
	wantServing(true, 6)
	sh.Role().Close()
	wantServing(false, 6)
	wantErr(ErrEpoch, sh.Role().Open(5, 5))
	wantErr(ErrEpoch, sh.Role().Open(7, 8))
	wantServing(false, 6)
	wantErr(nil, sh.Role().Open(6, 5)) // the same one
	wantServing(true, 6)

	// Reopen, a later epoch, or Close and Open end a pending handover.
	offer := func() {
		t.Helper()
		if !sh.Role().CloseIfEmpty(sh.Epoch()) {
			t.Error("CloseIfEmpty refuses an empty shard")
		}
	}
	offer()
	wantErr(ErrHandoverPending, sh.Role().Open(6, 5))
	wantServing(false, 6)
	sh.Role().Reopen()
	wantServing(true, 6)
	offer()
	wantErr(nil, sh.Role().Open(7, 5))
	wantServing(true, 7)
	offer()
	sh.Role().Close()
	sh.Role().Reopen() // too late
	wantServing(false, 7)
	wantErr(nil, sh.Role().Open(7, 5))
	wantServing(true, 7)
}

// An expired entry counts: the log does not have its removal yet.
func TestShardWithExpiredEntryIsNotEmpty(t *testing.T) {
	f := newFixture(t)
	f.set("k", "x", at(f.now+10))
	f.now += 10
	if f.Role().CloseIfEmpty(f.Epoch()) || !f.Serving() {
		t.Error("CloseIfEmpty has closed it")
	}
	RemoveExpired(f.Shard, 10)
	if !f.Role().CloseIfEmpty(f.Epoch()) {
		t.Error("CloseIfEmpty refuses it")
	}
	f.Role().Reopen()
}

// Operations on the whole node skip closed shards, which are unchanged when they open again.
func TestClosedShardsAreSkipped(t *testing.T) {
	t.Parallel()
	var pool memory.Pool
	now := int64(1_000_000)
	store := NewStore(16, epoch, func() int64 { return now }, &pool)
	f := &fixture{t: t}
	t.Cleanup(store.Release)
	put := func(key string, at int64) *Shard {
		sh := store.shards[position([]byte(key))>>hashBits/1024]
		_, err := settled(sh.Set(Write{Key: []byte(key), Value: f.value("x"), Expiry: Expiry{At: at}}))
		must(t, 0, err)
		return sh
	}
	closed := put("{foo}a", 0)
	put("{foo}b", now+5)
	open := put("bar", 0)
	if closed == open {
		t.Fatal("both keys belong to one shard")
	}
	closed.Role().Close()
	slot := int(position([]byte("{foo}")) >> hashBits)
	wantKeys := func(want int) {
		t.Helper()
		keys, _ := store.Scan(0, 100)
		here, bytes := store.SlotStats(slot)
		if len(keys) != want || store.Stats().Keys != want || len(store.KeysInSlot(slot, 10)) != max(0, want-1) || here != max(0, want-1) || (bytes > 0) != (want > 1) {
			t.Errorf("%q, %d keys, %q and %d in the slot, %d bytes; want %d", keys, store.Stats().Keys, store.KeysInSlot(slot, 10), here, bytes, want)
		}
	}
	wantKeys(1)
	if n := store.Stats().KeysNotServed; n != 2 {
		t.Errorf("%d keys are not served", n)
	}
	for range 50 {
		if key, ok := store.RandomKey(); !ok || key != "bar" {
			t.Fatalf("RandomKey() = %q, %v", key, ok)
		}
	}
	must(t, 0, settleAll(store.Flush()))
	wantKeys(0)
	if key, ok := store.RandomKey(); ok {
		t.Errorf("RandomKey() = %q", key)
	}
	_, before := closed.Newest()
	now += 10
	if RemoveExpired(closed, 10) {
		t.Error("the closed shard expires entries")
	}
	store.Memory().Configure(MemoryConfig{Limit: 1 << 40, Policy: AllKeysRandom, Samples: 5})
	if n := store.evictor.evictOne(store.memory.config.Load()); n != 0 {
		t.Errorf("%d bytes were evicted", n)
	}
	if _, after := closed.Newest(); after != before || closed.index.counts.keys.Load() != 2 {
		t.Errorf("the closed shard has changed: seq %d, was %d", after, before)
	}
	must(t, 0, closed.Role().Open(epoch+1, epoch))
	keys, _ := store.Scan(0, 100)
	if len(keys) != 1 || keys[0] != "{foo}a" || closed.Get([]byte("{foo}b"), true) != nil {
		t.Errorf("the reopened shard has %q", keys)
	}
}

// Walks over all shards do not skip a shard that is moving to its next epoch.
func TestNextEpochHidesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store, key := f.store, []byte("bar")
	slot := int(position(key) >> hashBits)
	sh := shardOf(store, slot)
	var others sync.WaitGroup
	stop := make(chan struct{})
	until := func(do func()) {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					do()
				}
			}
		})
	}
	at := uint64(epoch)
	until(func() {
		at++
		must(t, 0, sh.Role().Open(at, 0))
	})
	until(func() { // the move takes a moment
		if sh.Acquire() {
			runtime.Gosched()
			sh.Release()
		}
	})
	for range 2000 {
		_, err := settled(sh.Set(Write{Key: key, Value: f.value("x")}))
		must(t, 0, err)
		keys, _ := store.Scan(0, 100)
		random, ok := store.RandomKey()
		if ofSlot := store.KeysInSlot(slot, 10); len(keys) != 1 || len(ofSlot) != 1 || !ok {
			t.Errorf("Scan() = %q, KeysInSlot() = %q, RandomKey() = %q", keys, ofSlot, random)
		}
		must(t, 0, settleAll(store.Flush()))
		if n := sh.Keys(); n != 0 {
			t.Errorf("%d keys are left by Flush", n)
		}
		if t.Failed() {
			break
		}
	}
	close(stop)
	others.Wait()
}

func BenchmarkGate(b *testing.B) {
	var pool memory.Pool
	store := NewStore(16, epoch, func() int64 { return 1 }, &pool)
	var next atomic.Int64
	for name, shards := range map[string]int64{"one": 1, "own": 16} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				sh := store.shards[next.Add(1)%shards]
				for pb.Next() {
					if sh.Acquire() {
						sh.Release()
					}
				}
			})
		})
	}
}
