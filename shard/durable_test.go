package shard

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// lab is a store on disk without background work: the test syncs it and writes its snapshots.
type lab struct {
	*Store
	t    testing.TB
	pool *memory.Pool
	now  int64
}

const labShards = 16

// openLab recovers the folder in fs. Boot is the boot id of the machine.
func openLab(t testing.TB, fs vfs.FS, boot string, fsync FsyncPolicy) (*lab, error) {
	return openLabLogged(t, fs, boot, fsync, true)
}

func openLabLogged(t testing.TB, fs vfs.FS, boot string, fsync FsyncPolicy, logged bool) (*lab, error) {
	t.Helper()
	return openLabAt(t, fs, boot, fsync, logged, 1_000_000)
}

// openLabAt is openLab with a clock that shows now.
func openLabAt(t testing.TB, fs vfs.FS, boot string, fsync FsyncPolicy, logged bool, now int64) (*lab, error) {
	t.Helper()
	d, err := persistence.OpenDisk(fs, "data", persistence.Options{
		Shards: labShards, BootID: boot, Log: slog.New(slog.DiscardHandler),
		NextIncarnation: func(last uint64) uint64 { return max(last+1, epoch) },
	})
	if err != nil {
		return nil, err
	}
	l := &lab{t: t, pool: new(memory.Pool), now: now}
	l.Store = NewStore(labShards, d.Identity().Incarnation(), func() int64 { return l.now }, l.pool)
	l.mono = func() int64 { return l.now * 1e6 }
	l.UseDisk(d, logged, unframed, slog.New(slog.DiscardHandler))
	l.Disk().Configure(DiskConfig{Fsync: fsync})
	if err := l.Disk().Recover(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		return nil, errors.Join(err, d.Close(false))
	}
	return l, nil
}

// kill ends the lab as kill -9 ends a process: without another write.
func (l *lab) kill() {
	l.Release()
	if n := l.pool.Buffers() + l.tablePool.Buffers(); n != 0 {
		l.t.Errorf("%d buffers are still held", n)
	}
	_ = l.disk.folder.Close(false) // the disk may be broken on purpose
}

func (l *lab) of(key string) *Shard {
	return l.shards[topology.ShardOfKey([]byte(key), labShards)]
}

// fact is the value and deadline of a key.
type fact struct {
	text    string
	at      int64 // deadline
	version Version
}

// state is the content of a shard.
type state map[string]fact

// contents returns the content of all shards and verifies every value.
func (l *lab) contents() map[int]state {
	all := map[int]state{}
	for i, sh := range l.shards {
		all[i] = state{}
		sh.index.table.each(func(e *Entry) bool {
			if e.expired(l.now) {
				return true
			}
			if err := e.Verify(); err != nil {
				l.t.Errorf("key %q: %v", e.Key(), err)
			}
			text := textOf(e.NPY(), e.CRC()) + string(e.Attrs())
			for _, p := range e.Parts() {
				text += "|" + p.Name + "=" + string(p.Data.Bytes())
			}
			all[i][string(e.Key())] = fact{text, e.ExpireAt(), e.Version()}
			return true
		})
	}
	return all
}

// textOf represents the bytes of a .npy file and the CRC32C of its value. It does not copy large
// files: the tests would do little else.
func textOf(npy []byte, crc uint32) string {
	const small = 4096
	if len(npy) <= small {
		return string(npy)
	}
	return fmt.Sprintf("%s+%d bytes, CRC32C %08x", npy[:64], len(npy)-64, crc)
}

// value makes a value of n bytes from a text that identifies it, with attrs and parts if rich.
func (l *lab) value(text string, n int, rich bool) (Value, string) {
	npy := append([]byte(text), bytes.Repeat([]byte{'.'}, max(0, n-len(text)))...)
	v := Value{NPY: npy}
	if n > inlineNPY {
		v.Buffer = l.pool.Copy(npy)
		v.NPY = v.Buffer.Bytes()
	}
	if rich {
		v.Attrs = []byte(`{"a":"` + text + `"}`)
		v.Parts = []Part{{"mask", l.pool.Copy([]byte(text + "mask"))}, {"x", l.pool.Copy(nil)}}
	}
	v.CRC = v.Checksum(crc32c.Checksum(v.NPY))
	whole := textOf(npy, v.CRC)
	if rich {
		whole += string(v.Attrs) + "|mask=" + text + "mask|x="
	}
	return v, whole
}

// After a loss of power at any moment, every shard has a prefix of its changes that includes all
// synced changes and, with always, all acknowledged ones.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	const steps = 60
	rounds := uint64(faultRounds(t, 300))
	base := rand.Uint64()
	t.Logf("seed %d", base)
	did := map[string]int{}
	shorter := 0
	for round := range rounds {
		seed := base + round
		fsync := []FsyncPolicy{FsyncAlways, FsyncEverysec}[round%2]
		r := rand.New(rand.NewPCG(seed, 2))
		mem := vfs.NewMem()
		var image *vfs.Mem
		var acked, synced map[int]int
		var s *script
		moment := r.IntN(500)
		faulty := vfs.NewFaulty(mem, func(n int) error {
			if n == moment && s != nil {
				image, acked, synced = mem.Crash(r), map[int]int{}, maps.Clone(s.synced)
				for i, h := range s.history {
					acked[i] = len(h) - 1
				}
			}
			return nil
		})
		l, err := openLab(t, faulty, "a", fsync)
		if err != nil {
			t.Fatal(err)
		}
		s = newScript(l, seed)
		for range steps {
			s.step()
		}
		if image == nil { // the script ended before the moment
			image, acked, synced = mem.Crash(r), map[int]int{}, maps.Clone(s.synced)
			for i, h := range s.history {
				acked[i] = len(h) - 1
			}
		}
		l.kill()
		for kind, n := range s.did {
			did[kind] += n
		}
		again, err := openLab(t, image, "b", fsync)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, got := range again.contents() {
			// The change in progress may be there too.
			h := s.history[i][:min(acked[i]+2, len(s.history[i]))]
			at := prefixOf(got, h, synced[i])
			if at < 0 {
				t.Fatalf("seed %d, %s, moment %d: shard %d has %s, which is not one of the states %d to %d:\n%s\n%s", seed, fsync, moment, i, brief(got), synced[i], acked[i],
					brief(h[synced[i]]), brief(h[len(h)-1]))
			}
			if at < acked[i] {
				shorter++
			}
		}
		if n := again.disk.counters.damageFound.Load(); n > 0 {
			t.Errorf("seed %d, moment %d: %d places are reported as damaged", seed, moment, n)
		}
		// The store goes on from there and recovers once more.
		more := newScript(again, seed)
		for range 20 {
			more.step()
		}
		again.kill()
		third, err := openLab(t, image, "b", fsync)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, got := range third.contents() {
			if !maps.Equal(got, more.last(i)) {
				t.Fatalf("seed %d: after another kill, shard %d has %s, want %s", seed, i, brief(got), brief(more.last(i)))
			}
		}
		// The next sync of the following process makes what the killed one had not synced durable.
		rest := newScript(third, seed+1)
		for range 10 {
			rest.step()
		}
		for i := range third.shards {
			must(t, 0, third.shards[i].writer.log.Sync(third.shards[i].writer.log.Position()))
		}
		last := image.Crash(r)
		third.kill()
		fourth, err := openLab(t, last, "c", fsync)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, got := range fourth.contents() {
			if !maps.Equal(got, rest.last(i)) {
				t.Fatalf("seed %d: after a kill, a sync and a loss of power, shard %d has %s, want %s", seed, i, brief(got), brief(rest.last(i)))
			}
		}
		fourth.kill()
	}
	t.Logf("%v; in %d shards something was lost that had not been synced", did, shorter)
	for _, kind := range []string{"set", "delete", "expire", "batch", "flush", "sync", "snapshot", "save"} {
		if did[kind] == 0 {
			t.Errorf("the script contains no %s", kind)
		}
	}
	if shorter == 0 {
		t.Error("no unsynced change was ever lost: the simulation shows nothing")
	}
}

// The disk fails at any operation, once or from then on: reads work, the operation fails or
// succeeds as a whole, and acknowledged changes survive a restart.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	steps := 40
	if memory.OnGoHeap || testing.Short() {
		steps = 14
	}
	for _, fsync := range []FsyncPolicy{FsyncAlways, FsyncEverysec} {
		for _, fault := range []error{errIO, errFull} {
			for _, forever := range []bool{false, true} {
				if memory.OnGoHeap && ((fsync == FsyncAlways) != forever || forever != (fault == errIO)) {
					continue // two that differ in everything are enough for the race detector
				}
				t.Run(fmt.Sprintf("%s %v forever=%v", fsync, fault, forever), func(t *testing.T) {
					t.Parallel()
					failed := 0
					for i := 0; ; i++ {
						if !errorsAt(t, i, steps, fsync, fault, forever, &failed) {
							t.Logf("%d operations, errors in %d", i, failed)
							if i < steps || failed == 0 {
								t.Errorf("only %d operations were tried, %d writes failed", i, failed)
							}
							return
						}
					}
				})
			}
		}
	}
}

// errorsAt runs a script with an error at operation i and reports whether the script reached it.
func errorsAt(t *testing.T, i, steps int, fsync FsyncPolicy, fault error, forever bool, failed *int) bool {
	mem := vfs.NewMem()
	started := false
	began := 0
	faulty := vfs.NewFaulty(mem, func(n int) error {
		if !started {
			began = n + 1
			return nil
		}
		if n -= began; n == i || forever && n > i {
			return fault
		}
		return nil
	})
	l, err := openLab(t, faulty, "a", fsync)
	if err != nil {
		t.Fatal(err)
	}
	started = true
	s := newScript(l, 42)
	s.strict = true
	for range steps {
		s.step()
	}
	_, hits := faulty.Changes()
	for _, err := range s.errs {
		*failed++
		if !errors.Is(err, ErrDisk) && !errors.Is(err, ErrDiskFull) && !errors.Is(err, ErrUncertain) && !errors.Is(err, persistence.ErrStopped) &&
			!errors.Is(err, fault) {
			t.Errorf("operation %d: unexpected error: %v", i, err)
		}
	}
	uncertain := slices.ContainsFunc(s.errs, func(err error) bool { return errors.Is(err, ErrUncertain) })
	before := l.contents()
	l.kill()
	again, err := openLab(t, mem.Clone(), "a", fsync)
	if err != nil {
		t.Fatalf("operation %d: %v", i, err)
	}
	for id, got := range again.contents() {
		if want := s.last(id); !maps.Equal(got, want) && !(uncertain && maps.Equal(got, before[id])) {
			t.Fatalf("operation %d of %d (%v): after a restart shard %d has\n%s, want\n%s", i, hits, s.errs, id, brief(got), brief(want))
		}
	}
	if n := again.disk.counters.damageFound.Load(); n > 0 {
		t.Errorf("operation %d: %d places are reported as damaged", i, n)
	}
	again.kill()
	if hits == 0 {
		return false
	}
	// After a loss of power, synced changes are there.
	r := rand.New(rand.NewPCG(uint64(i), 3))
	image := mem.Crash(r)
	again, err = openLab(t, image, "b", fsync)
	if err != nil {
		t.Fatalf("operation %d: %v", i, err)
	}
	for id, got := range again.contents() {
		if prefixOf(got, append(s.history[id], before[id]), s.synced[id]) < 0 {
			t.Fatalf("operation %d: after a loss of power shard %d has %s, synced: %s", i, id, brief(got), brief(s.history[id][s.synced[id]]))
		}
	}
	again.kill()
	return true
}

// manyFaults reports whether tests of faults take all the time they need, as in make faults.
func manyFaults() bool { return os.Getenv("NDRING_FAULT_ROUNDS") != "" }

// faultRounds returns the number of rounds of a test of faults: NDRING_FAULT_ROUNDS times the usual
// number, or a tenth with the race detector or -short.
func faultRounds(t *testing.T, usual int) int {
	t.Helper()
	if text := os.Getenv("NDRING_FAULT_ROUNDS"); text != "" {
		times, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return usual * times
	}
	if memory.OnGoHeap || testing.Short() {
		return usual / 10
	}
	return usual
}

var (
	errIO   error = syscall.EIO
	errFull error = syscall.ENOSPC
)
