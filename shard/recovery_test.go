package shard

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// clockModel is what a shard must have whatever the clock shows during its recovery: value and
// deadline of every key, including expired keys that are not freed yet, and the outcomes of
// requests.
type clockModel struct {
	keys    state
	answers map[[2]string]*clockAnswer // by key and request id
}

// clockAnswer is the outcome that a repeat must get until the clock shows known.
type clockAnswer struct {
	outcome Outcome
	known   int64
}

func (m *clockModel) clone() *clockModel {
	c := &clockModel{keys: maps.Clone(m.keys), answers: map[[2]string]*clockAnswer{}}
	for id, a := range m.answers {
		copied := *a
		c.answers[id] = &copied
	}
	return c
}

// clockRun applies random operations to one shard and its model. Safe keeps what survives a crash.
type clockRun struct {
	*lab
	seed   uint64
	r      *rand.Rand
	n      int
	logged bool
	model  *clockModel
	safe   *clockModel
}

const clockTag = "{0}"

func (c *clockRun) shard() *Shard { return c.of(clockTag) }

func (c *clockRun) key() string { return fmt.Sprint(clockTag, c.r.IntN(4)) }

func (c *clockRun) live(key string) (fact, bool) {
	f, there := c.model.keys[key]
	return f, there && (f.at == 0 || c.Now() < f.at)
}

// deadline returns a time from shortly before now on.
func (c *clockRun) deadline() int64 { return c.now - 200 + c.r.Int64N(4000) }

func (c *clockRun) step(tx *Tx) {
	c.n++
	key := c.key()
	old, there := c.live(key)
	switch c.r.IntN(8) {
	case 0:
		at := c.deadline()
		done, _ := tx.Expire([]byte(key), at, ExpireCondition{})
		c.expect(done == there, "expire")
		if there && at <= tx.now {
			delete(c.model.keys, key)
		} else if there {
			old.at = at
			c.model.keys[key] = old
		}
	case 1:
		done, _ := tx.Persist([]byte(key))
		c.expect(done == (there && old.at != 0), "persist")
		if there {
			old.at = 0
			c.model.keys[key] = old
		}
	case 2:
		n, _ := tx.Delete(keys(key))
		c.expect(n == boolInt(there), "delete")
		delete(c.model.keys, key)
	case 3:
		c.repeat(tx)
	default:
		c.set(tx, key, old, there)
	}
}

func (c *clockRun) set(tx *Tx, key string, old fact, there bool) {
	w := Write{Key: []byte(key)}
	n := c.r.IntN(50)
	if c.r.IntN(40) == 0 {
		n = persistence.BlobBytes
	}
	var text string
	w.Value, text = c.value(fmt.Sprint(key, "@", c.n, ":"), n, false)
	switch c.r.IntN(4) {
	case 0, 1:
		w.Expiry.At = c.deadline()
	case 2:
		w.Expiry.Keep = true
	}
	holds := true
	switch c.r.IntN(6) {
	case 0:
		w.Condition, holds = IfMissing, !there
	case 1:
		w.Condition, holds = IfPresent, there
	case 2:
		w.Condition, w.IfVersion, holds = IfVersion, old.version, there
	}
	if c.r.IntN(2) == 0 {
		w.RequestID = fmt.Sprint("id", c.n)
	}
	o, err := tx.Set(w)
	must(c.t, o, err)
	c.expect(o.Done == holds, "set")
	if w.RequestID != "" {
		c.model.answers[[2]string{key, w.RequestID}] = &clockAnswer{o, c.now + requestLifetime}
	}
	at := w.Expiry.At
	if w.Expiry.Keep && there {
		at = old.at
	}
	switch {
	case !holds:
	case at != 0 && at <= tx.now:
		delete(c.model.keys, key)
	default:
		c.model.keys[key] = fact{text, at, o.Version}
	}
}

// repeat sends a request again: it must get the outcome of the first attempt and change nothing.
func (c *clockRun) repeat(tx *Tx) {
	for id, a := range c.model.answers {
		if c.now >= a.known {
			delete(c.model.answers, id)
			continue
		}
		v, _ := c.value("repeated", 20, false)
		o, err := tx.Set(Write{Key: []byte(id[0]), Value: v, RequestID: id[1]})
		must(c.t, o, err)
		c.expect(o == a.outcome, fmt.Sprintf("repeat of %s: %v, want %v", id, o, a.outcome))
		return
	}
}

func (c *clockRun) expect(ok bool, what string) {
	c.t.Helper()
	if !ok {
		c.t.Fatalf("seed %d, op %d at %d: %s", c.seed, c.n, c.now, what)
	}
}

// run performs some operations and then ends the process in one of several ways.
func (c *clockRun) run(clean bool) {
	for range 25 {
		switch c.r.IntN(12) {
		case 0, 1, 2:
			c.now += c.r.Int64N(3000) - 1000
		case 3:
			RemoveExpired(c.shard(), 100)
			maps.DeleteFunc(c.model.keys, func(_ string, f fact) bool { return f.at != 0 && f.at <= c.Now() })
		case 4:
			must(c.t, 0, c.shard().snapshots.write(true))
			c.safe = c.model.clone()
		case 5:
			if c.r.IntN(3) == 0 {
				must(c.t, 0, settle(c.shard().Flush()))
				clear(c.model.keys)
			}
		default:
			steps := 1 + c.r.IntN(2)*c.r.IntN(5)
			must(c.t, 0, settle(c.shard().Update(true, func(tx *Tx) {
				for range steps {
					c.step(tx)
				}
			})))
		}
		if c.logged {
			c.safe = c.model.clone()
		}
	}
	if !clean {
		c.kill()
		return
	}
	must(c.t, 0, c.Close(c.t.Context(), true))
	c.Release()
	c.safe = c.model.clone()
}

// check compares the recovered shard, and what tools read without a node, with the model.
func (c *clockRun) check(mem *vfs.Mem) {
	sh := c.shard()
	got := state{}
	sh.index.table.each(func(e *Entry) bool {
		got[string(e.Key())] = fact{textOf(e.NPY(), e.CRC()), e.ExpireAt(), e.Version()}
		return true
	})
	if !maps.Equal(got, c.model.keys) {
		c.t.Fatalf("seed %d: the shard has %s, want %s", c.seed, brief(got), brief(c.model.keys))
	}
	c.expect(c.disk.counters.damageFound.Load() == 0, "damage is reported")
	d, err := persistence.Inspect(mem.Clone(), "data", "a")
	must(c.t, d, err)
	defer func() { must(c.t, 0, d.Close(false)) }()
	x := NewInspection(c.Now())
	report, err := d.Reader(sh.id).Read(x)
	must(c.t, report, err)
	keys, _, expired := x.Count()
	live := int64(0)
	for _, key := range slices.Sorted(maps.Keys(c.model.keys)) {
		npy, _, err := ReadNPY(d, []byte(key), c.Now())
		must(c.t, npy, err)
		want := ""
		if f, there := c.live(key); there {
			live++
			want = f.text
		}
		c.expect(textOf(npy, crc32c.Checksum(npy)) == want, "dump of "+key)
	}
	c.expect(keys == live && expired == int64(len(c.model.keys))-live, fmt.Sprintf("check counts %d keys, %d expired", keys, expired))
}

// Whatever the clock shows at a start, the recovery restores everything that was acknowledged:
// values with their last deadlines and the outcomes of requests.
func TestRecoveryIgnoresTheClock(t *testing.T) {
	t.Parallel()
	base := rand.Uint64()
	t.Logf("seed %d", base)
	for _, logged := range []bool{true, false} {
		rounds := uint64(30)
		if memory.OnGoHeap {
			rounds = 8
		}
		for round := range rounds {
			c := &clockRun{seed: base + round, r: rand.New(rand.NewPCG(base+round, 5)), logged: logged, model: &clockModel{keys: state{}, answers: map[[2]string]*clockAnswer{}}}
			c.safe = c.model
			mem := vfs.NewMem()
			now := int64(1_000_000)
			for start := range 4 {
				l, err := openLabAt(t, mem, "a", FsyncEverysec, logged, now)
				c.lab = must(t, l, err)
				c.model = c.safe.clone()
				for _, a := range c.model.answers {
					a.known = now + requestLifetime
				}
				if start > 0 {
					c.check(mem)
				}
				if start == 3 {
					c.kill()
					break
				}
				c.run(c.r.IntN(3) == 0)
				now = c.now + c.r.Int64N(20_000) - 5000
			}
		}
	}
}

// INFO reads the sizes of the files while shards are recovered.
func TestStatsDuringRecovery(t *testing.T) {
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	for i := range 100 {
		l.put(fmt.Sprint(i), 20, 0)
	}
	l.kill()
	log := slog.New(slog.DiscardHandler)
	d, err := persistence.OpenDisk(mem, "data", persistence.Options{
		Shards: labShards, BootID: "a", Log: log, NextIncarnation: func(last uint64) uint64 { return last + 1 },
	})
	must(t, 0, err)
	store := NewStore(labShards, d.Identity().Incarnation(), func() int64 { return 1 }, new(memory.Pool))
	store.UseDisk(d, true, unframed, log)
	recovered := make(chan error)
	go func() { recovered <- store.Disk().Recover(t.Context(), log) }()
	for {
		store.Disk().Stats()
		select {
		case err := <-recovered:
			must(t, 0, err)
			// Each shard has a no-op, too, which is no change.
			if stats, _ := store.Disk().Stats(); stats.LogBytes == 0 || stats.Unsaved != 100 {
				t.Errorf("%+v", stats)
			}
			store.Release()
			must(t, 0, store.Close(t.Context(), false))
			return
		default:
		}
	}
}
