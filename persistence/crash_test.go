package persistence

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
	"github.com/ndring/ndring/persistence/vfs"
)

// verify starts on the files that a crash has left, and compares what it finds. It starts once more
// on what the first start has left.
func (c *copyUnderLoad) verify(mem *vfs.Mem, boot string, x *expectation) error {
	var first Point
	before := describe(mem, shardDir("data", crashShard))
	for n := range 2 {
		o := fixedOptions()
		o.BootID = boot
		d, err := OpenDisk(mem, "data", o)
		if err != nil {
			return err
		}
		j := newJournal()
		report, err := d.Log(crashShard).Recover(j)
		if err == nil {
			err = x.explain(c.h, j, report)
		}
		if err == nil && n > 0 && report.Has != first {
			err = fmt.Errorf("the second start finds %v, the first one found %v", report.Has, first)
		}
		if err != nil {
			return fmt.Errorf("start %d: %w\n%s", n+1, errors.Join(err, d.Close(false)), before)
		}
		first = report.Has
		if err := d.Close(false); err != nil {
			return err
		}
		mem = mem.Clone()
	}
	return nil
}

// interrupt starts on the files that a crash has left and ends the start at its nth change, by
// another crash. It returns what that leaves.
func (c *copyUnderLoad) interrupt(mem *vfs.Mem, boot string, n int, power *rand.Rand) *vfs.Mem {
	mem = mem.Clone()
	stopped := errors.New("the process has ended")
	o := fixedOptions()
	o.BootID = boot
	d, err := OpenDisk(vfs.NewFaulty(mem, func(change int) error {
		if change >= n {
			return stopped
		}
		return nil
	}), "data", o)
	if err == nil {
		_, err = d.Log(crashShard).Recover(newJournal())
		_ = d.Close(false)
	}
	if err != nil && !errors.Is(err, stopped) {
		c.t.Fatalf("a start that ends at change %d: %v", n, err)
	}
	if power != nil {
		return mem.Crash(power)
	}
	return mem.Clone()
}

// A crash at any operation of the file system leaves a log from which a start gets the committed
// prefix, with all that was synced, or written if the machine goes on.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	seeds, lives, steps := 15, 3, 40
	if testing.Short() || slowtest.Race { // make faults runs all of them
		seeds = 2
	}
	for seed := range seeds {
		crashes(t, uint64(seed), lives, steps, nil)
	}
}

// Nor does a disk that is full, or fails, at any moment for any time, leave anything else: an
// operation that fails changes nothing, or stops the log.
func TestDiskErrorsUnderLoad(t *testing.T) {
	t.Parallel()
	seeds := 40
	if testing.Short() || slowtest.Race { // make faults runs all of them
		seeds = 4
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		crashes(t, uint64(seed), 2, 25, func() func(n int) error {
			from, left := r.IntN(120), 1+r.IntN(3)*r.IntN(5)
			err := []error{syscall.ENOSPC, syscall.EIO}[r.IntN(2)]
			return func(n int) error {
				if n < from || left == 0 {
					return nil
				}
				left--
				return &iofs.PathError{Op: "change", Path: "somewhere", Err: err}
			}
		})
	}
}

// crashes puts a copy under load, which ends several times, and crashes at each change of the files.
// Faults makes what fails in each life; nil for nothing.
func crashes(t *testing.T, seed uint64, lives, steps int, faults func() func(n int) error) {
	t.Helper()
	c := &copyUnderLoad{t: t, r: rand.New(rand.NewPCG(seed, 1)), h: newHistory()}
	chance := rand.New(rand.NewPCG(seed, 2))
	mem, boot := vfs.NewMem(), 1
	for range lives {
		checking, n := false, 0
		fault := func(int) error { return nil }
		faulty := vfs.NewFaulty(mem, func(int) error {
			if !checking {
				return nil
			}
			c.crash(mem, boot, chance, seed)
			n++
			return fault(n)
		})
		c.open(faulty, fmt.Sprint(boot))
		if checking = true; faults != nil {
			fault = faults()
		}
		broken := func() bool { _, failed := faulty.Changes(); return failed > 0 }
		for range steps {
			if err := c.step(broken); err != nil && !broken() {
				t.Fatalf("seed %d: %v", seed, err)
			} else if err != nil {
				break
			}
		}
		checking = false
		if c.running != nil {
			c.running.Abort()
		}
		switch how := chance.IntN(3); {
		case how == 0:
			mem = mem.Clone()
		case how == 1 || c.log.Err() != nil:
			mem = mem.Crash(chance)
			boot += 2
		default:
			if err := c.disk.Close(true); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			mem = mem.Clone()
		}
	}
}

// crash compares what starts find that follow a crash at this moment.
func (c *copyUnderLoad) crash(mem *vfs.Mem, boot int, chance *rand.Rand, seed uint64) {
	same, next := fmt.Sprint(boot), fmt.Sprint(boot+1)
	if err := c.verify(mem.Clone(), same, &c.killed); err != nil {
		c.t.Fatalf("seed %d, killed during %s: %v", seed, c.doing, err)
	}
	crashed := mem.Crash(chance)
	if err := c.verify(crashed.Clone(), next, &c.lost); err != nil {
		c.t.Fatalf("seed %d, power lost during %s: %v", seed, c.doing, err)
	}
	at := chance.IntN(12)
	if err := c.verify(c.interrupt(mem, same, at, nil), same, &c.killed); err != nil {
		c.t.Fatalf("seed %d, killed during %s, and the start at change %d: %v", seed, c.doing, at, err)
	}
	if err := c.verify(c.interrupt(crashed, next, at, chance), fmt.Sprint(boot+2), &c.lost); err != nil {
		c.t.Fatalf("seed %d, power lost during %s, and in the start at change %d: %v", seed, c.doing, at, err)
	}
}
