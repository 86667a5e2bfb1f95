package shard

import (
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
)

// closeAll closes all shards, as on a node of a cluster.
func (l *lab) closeAll() *lab {
	for _, sh := range l.shards {
		sh.Role().Close()
	}
	return l
}

// Opening a shard in a later epoch raises its versions, keeps its values, and survives a restart.
func TestVersionsRiseWithTheEpoch(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	sh := l.of("k")
	first := l.put("k", 10, 0)
	versions := []Version{first}
	for i := range uint64(4) {
		if i%2 == 0 {
			sh.Role().Close()
		}
		must(t, 0, sh.Role().Open(first.Epoch+10*(i+1), first.Epoch))
		if !l.has("k") {
			t.Fatal("the value is missing")
		}
		versions = append(versions, l.put("k", 10, 0))
		if i == 2 {
			must(t, 0, sh.snapshots.write(false))
		}
	}
	for i, v := range versions[1:] { // each leader epoch begins with a no-op
		if before := versions[i]; !v.After(before) || v.Seq != before.Seq+2 || v.Epoch != first.Epoch+10*uint64(i+1) {
			t.Errorf("%v follows %v", v, before)
		}
	}
	must(t, 0, sh.Role().Open(first.Epoch+100, first.Epoch)) // without a write
	must(t, 0, sh.snapshots.write(true))
	wantScrubbed(t, sh)
	before := l.contents()
	l.kill()
	again := mustLab(t, mem, FsyncEverysec)
	again.closeAll()
	if epoch, seq := again.of("k").Newest(); epoch != versions[4].Epoch || seq != versions[4].Seq {
		t.Errorf("the newest change is %d-%d", epoch, seq)
	}
	if epoch := again.Epoch(); epoch != versions[4].Epoch {
		t.Errorf("the newest epoch is %d", epoch)
	}
	for i, got := range again.contents() {
		if !maps.Equal(got, before[i]) {
			t.Errorf("shard %d has %s, want %s", i, brief(got), brief(before[i]))
		}
	}
	if n := again.disk.counters.damageFound.Load(); n > 0 {
		t.Errorf("%d places are damaged", n)
	}
	if err := again.of("k").Role().Open(versions[4].Epoch-1, first.Epoch); !errors.Is(err, ErrEpoch) {
		t.Errorf("an epoch that was over before the restart: %v", err)
	}
	again.kill()
}

func wantScrubbed(t *testing.T, sh *Shard) {
	t.Helper()
	if damage, err := sh.writer.log.Scrubber().Scrub(func(int64) bool { return true }); err != nil || len(damage) > 0 {
		t.Errorf("scrub: %v, %v", damage, err)
	}
}

// A stale copy is cleared with its requests and does not come back. A copy of the epoch in which
// the shard began empty, or of a later one, stays.
func TestStaleCopyIsCleared(t *testing.T) {
	t.Parallel()
	for _, logged := range []bool{true, false} {
		for _, way := range []string{"Open", "follow"} {
			mem := vfs.NewMem()
			l, err := openLabLogged(t, mem, "a", FsyncEverysec, logged)
			if err != nil {
				t.Fatal(err)
			}
			sh := l.of("k")
			nx := func(id string) Outcome {
				v, _ := l.value("x", 10, false)
				o, err := settled(sh.Set(Write{Key: []byte("k"), Value: v, Condition: IfMissing, RequestID: id}))
				return must(t, o, err)
			}
			first := nx("one")
			l.put("{k}large", 2<<20, 0)
			must(t, 0, sh.snapshots.write(false))
			l.closeAll()
			emptySince := first.Version.Epoch + 5
			follow := func(epoch, born uint64) error {
				return sh.Role().Configure(replica.Config{Epoch: epoch, LeaderEpoch: epoch, Born: born, Primary: there, ISR: []replica.Process{there}})
			}
			clear := func() {
				t.Helper()
				if way == "Open" {
					must(t, 0, sh.Role().Open(emptySince+1, emptySince))
				} else {
					must(t, 0, follow(first.Version.Epoch+1, first.Version.Epoch)) // it is not stale
					if sh.index.counts.keys.Load() != 2 {
						t.Error("a copy that is not stale was cleared")
					}
					must(t, 0, follow(emptySince+1, emptySince))
					must(t, 0, follow(emptySince+1, emptySince))
					if end := sh.rules.End(); end != (replica.Point{}) || sh.Serving() {
						t.Errorf("the copy ends with %v, serving %v", end, sh.Serving())
					}
				}
				if n := sh.index.counts.keys.Load(); n != 0 || l.has("k") {
					t.Errorf("%d keys are left", n)
				}
			}
			clear()
			_, cleared := sh.Newest()
			l.kill()
			if l, err = openLabLogged(t, mem, "a", FsyncEverysec, logged); err != nil {
				t.Fatal(err)
			}
			l.closeAll()
			sh = l.of("k")
			if _, seq := sh.Newest(); logged && (sh.index.counts.keys.Load() != 0 || seq != cleared) {
				t.Errorf("%s: %d keys are back, seq %d, was %d", way, sh.index.counts.keys.Load(), seq, cleared)
			}
			must(t, 0, sh.Role().Open(emptySince+2, emptySince))
			if o := nx("one"); !o.Done || !o.Version.After(first.Version) {
				t.Errorf("%s: an old request is known: %+v", way, o)
			}
			l.kill()
		}
	}
}

// After a loss of power at any moment around an Open that clears a stale copy, either the old,
// stale copy is recovered or a prefix of the later changes.
func TestPowerLossAroundStaleCopy(t *testing.T) {
	t.Parallel()
	later := 0
	for seed := range uint64(40) {
		mem := vfs.NewMem()
		l := mustLab(t, mem, FsyncEverysec)
		sh := l.of("k")
		v := l.put("k", 10, 0)
		if seed%2 == 0 {
			must(t, 0, sh.writer.log.Sync(sh.writer.log.Position()))
		}
		l.closeAll()
		emptySince := v.Epoch + 5
		must(t, 0, sh.Role().Open(emptySince, emptySince))
		l.put("{k}new", 10, 0)
		if seed%3 == 0 {
			must(t, 0, sh.snapshots.write(true))
		}
		r := rand.New(rand.NewPCG(seed, 4))
		image := mem.Crash(r)
		l.kill()
		again, err := openLab(t, image, "b", FsyncEverysec)
		if err != nil {
			t.Fatal(err)
		}
		sh = again.closeAll().of("k")
		newest := sh.Epoch()
		old, new := again.has("k"), again.has("{k}new")
		if old && new || old && newest >= emptySince || new && newest < emptySince {
			t.Fatalf("seed %d: epoch %d has the old value: %v, and the new one: %v", seed, newest, old, new)
		}
		must(t, 0, sh.Role().Open(max(newest, emptySince)+1, emptySince))
		if again.has("k") || again.has("{k}new") != new {
			t.Errorf("seed %d: the old value is there: %v; the new one %v, was %v", seed, again.has("k"), again.has("{k}new"), new)
		}
		if new {
			later++
		}
		again.kill()
	}
	if later == 0 || later == 40 {
		t.Errorf("the new value was there %d times", later)
	}
}

// If the Flush of a stale copy cannot be logged, the shard stays closed and unchanged. It can be
// opened later.
func TestStaleCopyCannotBeCleared(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var broken error
	l := mustLab(t, vfs.NewFaulty(mem, func(int) error { return broken }), FsyncEverysec)
	sh := l.of("k")
	v := l.put("k", 10, 0)
	broken = syscall.EIO
	if err := sh.Role().Open(v.Epoch+1, v.Epoch+1); !errors.Is(err, ErrDisk) {
		t.Error(err)
	}
	if sh.Serving() || sh.Epoch() != v.Epoch || !l.has("k") || sh.Acquire() {
		t.Errorf("serving %v, epoch %d, the value is there: %v", sh.Serving(), sh.Epoch(), l.has("k"))
	}
	broken = nil
	must(t, 0, sh.Role().Open(v.Epoch+1, v.Epoch+1))
	if l.has("k") || !sh.Serving() {
		t.Errorf("serving %v, the value is there: %v", sh.Serving(), l.has("k"))
	}
	l.kill()
}

// The random script, with shards that are closed, cleared and opened in between, is recovered
// completely.
func TestEpochsAndTheScript(t *testing.T) {
	t.Parallel()
	for seed := range uint64(faultRounds(t, 20)) {
		mem := vfs.NewMem()
		l := mustLab(t, mem, FsyncEverysec)
		s := newScript(l, seed)
		r := rand.New(rand.NewPCG(seed, 5))
		for range 60 {
			sh := l.shards[r.IntN(len(l.shards))]
			switch r.IntN(4) {
			case 0:
				must(t, 0, sh.Role().Open(sh.Epoch()+1, 0))
			case 1:
				sh.Role().Close()
				must(t, 0, sh.Role().Open(sh.Epoch(), 0))
			default:
				s.step()
			}
		}
		before := l.contents()
		for _, sh := range l.shards {
			wantScrubbed(t, sh)
		}
		epochs := make([]uint64, len(l.shards))
		for i, sh := range l.shards {
			epochs[i] = sh.Epoch()
		}
		l.kill()
		again := mustLab(t, mem, FsyncEverysec)
		for i, got := range again.contents() {
			if !maps.Equal(got, before[i]) {
				t.Fatalf("seed %d: shard %d has %s, want %s", seed, i, brief(got), brief(before[i]))
			}
		}
		if n := again.disk.counters.damageFound.Load(); n > 0 || slices.Max(epochs) == slices.Min(epochs) {
			t.Errorf("seed %d: %d places are damaged, epochs %v", seed, n, epochs)
		}
		again.kill()
	}
}

// When a start writes a snapshot of a shard that is not served, as after a repair, the shard keeps
// its epoch: otherwise it could not be served in the next one.
func TestRecoveryKeepsTheEpoch(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	v := l.put("k", 10, 0)
	l.kill()
	for range 2 {
		d, err := persistence.OpenDisk(mem, "data", persistence.Options{
			Shards: labShards, BootID: "a", Log: slog.New(slog.DiscardHandler), NextIncarnation: func(last uint64) uint64 { return last + 1000 },
		})
		if err != nil {
			t.Fatal(err)
		}
		l = &lab{t: t, pool: new(memory.Pool), now: 1_000_000}
		l.Store = NewClosedStore(labShards, func() int64 { return l.now }, l.pool)
		l.mono = func() int64 { return l.now * 1e6 }
		l.UseDisk(d, false, unframed, slog.New(slog.DiscardHandler)) // without a log, a start writes snapshots of logged changes
		sh := l.of("k")
		if err := sh.Role().Open(v.Epoch+1, 0); !errors.Is(err, ErrNotRecovered) {
			t.Error(err)
		}
		must(t, 0, l.Disk().Recover(t.Context(), slog.New(slog.DiscardHandler)))
		if epoch, seq := sh.Newest(); epoch != v.Epoch || seq != v.Seq || sh.Serving() || l.Stats().KeysNotServed != 1 {
			t.Errorf("the newest is %d-%d, want %v; serving %v, %+v", epoch, seq, v, sh.Serving(), l.Stats())
		}
		l.kill()
	}
}

// Damage in what a node has of a shard does not keep the shard from beginning empty there: what is damaged is stale.
func TestDamagedCopyBeginsEmpty(t *testing.T) {
	t.Parallel()
	l, err := openLab(t, vfs.NewMem(), "a", FsyncEverysec)
	must(t, l, err)
	defer l.kill()
	sh := l.of("k")
	v, _ := l.value("old", 10, false)
	_, err = settled(sh.Set(Write{Key: []byte("k"), Value: v}))
	must(t, 0, err)
	self := sh.role.writer.copy.process.self
	other := replica.Process{Node: "other", Incarnation: 1}
	next := sh.Epoch() + 1
	must(t, 0, sh.Role().Configure(replica.Config{Epoch: next, LeaderEpoch: next, Primary: other, ISR: []replica.Process{other}}))
	following{sh.role.writer.copy}.cannotFollow()
	must(t, 0, sh.Role().Configure(replica.Config{Epoch: next + 1, LeaderEpoch: next + 1, Born: next + 1, Primary: self, ISR: []replica.Process{self}}))
	if !sh.Serving() || sh.Keys() > 0 {
		t.Errorf("serving: %v, keys: %d", sh.Serving(), sh.Keys())
	}
}
