package shard

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ndring/ndring/replica"
)

// fill stores values under keys of a shard that this process leads alone: small ones, and one in a blob.
func (p *pair) fill() {
	p.t.Helper()
	for i := range 20 {
		p.store(fmt.Sprint("{0}", i), strings.Repeat("v", 1000))
	}
	p.store("{0}blob", strings.Repeat("b", 2<<20))
}

func (p *pair) store(key, text string) {
	p.t.Helper()
	_, _, err := p.sh.Set(Write{Key: []byte(key), Value: p.text(text)})
	must(p.t, 0, err)
}

// leaves takes the copy to a row that does not name this process any longer, and lets G pass.
func (p *pair) leaves() {
	p.t.Helper()
	p.row = replica.Config{Epoch: p.row.Epoch + 1, LeaderEpoch: p.row.Epoch + 1, Born: 1, Primary: there, ISR: []replica.Process{there}, Assigned: []replica.Process{there}}
	must(p.t, 0, p.sh.Role().Configure(p.row))
	if MayDrop(p.sh) {
		p.t.Error("the copy may be dropped at once")
	}
	p.now += 1000
}

// drop drops the copy.
func (p *pair) drop() {
	p.t.Helper()
	if dropped, err := Drop(p.sh); err != nil || dropped.Bytes < 21_000 {
		p.t.Errorf("%+v was dropped: %v", dropped, err)
	}
}

// A copy that its row does not name is emptied in memory and on disk, and stays so over a restart. What a reader holds stays.
func TestDropEmptiesACopy(t *testing.T) {
	t.Parallel()
	for _, logged := range []bool{true, false} {
		p := newPair(t, logged)
		p.lead(here)
		p.fill()
		p.now += 1000
		if _, err := Drop(p.sh); err != nil || p.sh.Keys() != 21 {
			t.Fatalf("a primary has dropped its copy: %d keys, %v", p.sh.Keys(), err)
		}
		held := p.sh.Get([]byte("{0}blob"), false)
		p.leaves()
		p.drop()
		if p.sh.Keys() != 0 || p.newest() != 0 || p.disk.unsaved.Load() != 0 || MayDrop(p.sh) {
			t.Errorf("logged %v: %d keys are left, the newest change is %d, %d are not saved", logged, p.sh.Keys(), p.newest(), p.disk.unsaved.Load())
		}
		if string(held.NPY()[:3]) != "bbb" {
			t.Error("a reader's value has gone")
		}
		held.Release()
		if n := p.pool.Buffers(); n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
		if logged {
			if bytes := p.disk.folder.Bytes(); bytes > 10_000 {
				t.Errorf("the files have %d bytes", bytes)
			}
			wantScrubbed(t, p.sh)
			p.end()
			p.start(t, p.now)
			if p.sh.Keys() != 0 || p.newest() != 0 {
				t.Errorf("after a restart %d keys are back, the newest change is %d", p.sh.Keys(), p.newest())
			}
			if n := p.disk.counters.damageFound.Load(); n > 0 {
				t.Errorf("a start finds %d damaged places", n)
			}
		}
		p.lead(here) // it takes what comes again
		p.store(asked, "again")
		p.end()
	}
}

// A copy that counts somewhere, or may come to, is not dropped.
func TestWhichCopiesAreDropped(t *testing.T) {
	t.Parallel()
	third := replica.Process{Node: "third", Incarnation: 1}
	for name, change := range map[string]func(*replica.Config){
		"in the ISR":                     func(c *replica.Config) { c.ISR = append(c.ISR, here) },
		"a learner":                      func(c *replica.Config) { c.Learners = []replica.Process{here} },
		"assigned":                       func(c *replica.Config) { c.Assigned = append(c.Assigned, here) },
		"a former process in the ISR":    func(c *replica.Config) { c.ISR = append(c.ISR, replica.Process{Node: "here"}) },
		"no primary":                     func(c *replica.Config) { c.Primary = replica.Process{} },
		"nothing is assigned":            func(c *replica.Config) { c.Assigned = nil },
		"an assigned node has no copy":   func(c *replica.Config) { c.Assigned = append(c.Assigned, third) },
		"an assigned copy is not clean":  func(c *replica.Config) { c.Unclean = c.ISR },
		"an assigned node is a learner ": func(c *replica.Config) { c.Assigned, c.Learners = append(c.Assigned, third), []replica.Process{third} },
	} {
		p := newPair(t, false)
		p.lead(here)
		p.fill()
		p.leaves()
		row := p.row
		row.Epoch++
		change(&row)
		must(t, 0, p.sh.Role().Configure(row))
		p.now += 1000
		if dropped, err := Drop(p.sh); MayDrop(p.sh) || dropped.Bytes > 0 || err != nil || p.sh.Keys() == 0 {
			t.Errorf("%s: the copy was dropped: %+v, %v", name, dropped, err)
		}
		row = p.row
		row.Epoch += 2
		must(t, 0, p.sh.Role().Configure(row))
		p.drop()
		p.end()
	}
}

// A dropped copy that is a learner again in the same leader epoch grants no lease and acknowledges nothing, and asks for a whole
// copy, until one is installed that has all that it had.
func TestDroppedCopySaysNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	p.fill()
	p.ack(p.newest())
	p.depose()
	p.truncate(p.newest())
	had := p.newest()
	p.row.Epoch++
	p.row.ISR, p.row.Assigned = []replica.Process{there}, []replica.Process{there}
	must(t, 0, p.sh.Role().Configure(p.row))
	p.now += 1000
	p.drop()
	p.row.Learners, p.row.Assigned = []replica.Process{here}, []replica.Process{there, here}
	must(t, 0, p.sh.Role().Configure(p.row))
	m, source := p.sh.Member(), Source{there, p.row.Epoch, p.row.LeaderEpoch}
	silent := func(when string) {
		t.Helper()
		if m.Renew(&source) {
			t.Errorf("%s: it grants the lease", when)
		}
		if a := m.Advance(&source, 0); a.Kind != Synchronize || !m.SyncRequest().Install {
			t.Errorf("%s: it answers %+v", when, a)
		}
	}
	silent("after the drop")
	if a := m.Truncate(&source, 0); a.Kind == Acknowledge {
		t.Errorf("a truncation is answered %+v", a)
	}
	silent("after a truncation")
	install := func(base uint64) error {
		i, err := m.Install(source, replica.Point{Epoch: p.row.LeaderEpoch, Seq: base}, replica.EpochTable{{Epoch: 1, Seq: 1}, {Epoch: p.row.LeaderEpoch, Seq: had}}, 0)
		must(t, 0, err)
		_, err = i.Commit()
		return err
	}
	if err := install(had - 1); err == nil {
		t.Error("it installs a copy that lacks what it had acknowledged")
	}
	silent("after an old copy")
	must(t, 0, install(had))
	if a := m.Advance(&source, 0); !m.Renew(&source) || a.Kind != Acknowledge || a.Ack.Written != had {
		t.Errorf("after the copy it answers %+v", a)
	}
}

// When the process ends in the middle of a drop, or the machine loses its power, a start finds the whole copy or none.
func TestDropInterrupted(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	found := map[int]int{}
	for at, done := 0, false; !done; at++ {
		for _, power := range []bool{false, true} {
			p := newPair(t, true)
			p.lead(here)
			p.fill()
			p.disk.folder.SyncAll()
			p.leaves()
			changes := 0
			p.hang = func() {
				p.broken = changes >= at
				changes++
			}
			_, err := Drop(p.sh)
			p.hang, done = nil, err == nil && changes <= at
			p.end()
			if p.broken = false; power {
				p.mem = p.mem.Crash(r)
			}
			p.start(t, p.now)
			got := p.sh.Keys()
			if got != 0 && got != 21 || done && got != 0 {
				t.Errorf("interrupted at change %d with %v, a start finds %d keys", at, err, got)
			}
			found[got]++
			if n := p.disk.counters.damageFound.Load(); n > 0 {
				t.Errorf("interrupted at change %d, a start finds %d damaged places", at, n)
			}
			p.end()
		}
	}
	if found[0] < 4 || found[21] < 4 {
		t.Errorf("starts found %v: it was not interrupted", found)
	}
}
