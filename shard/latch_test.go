package shard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ndring/ndring/replica"
)

// set appends a change that is not committed.
func (p *pair) set(w Write) Future {
	p.t.Helper()
	_, f, err := p.sh.Set(w)
	return must(p.t, f, err)
}

// A latch waits for all of its futures, however often it is used, and whatever ends the wait.
func TestLatch(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	p := newPair(t, true)
	defer p.end()
	p.Disk().Configure(DiskConfig{Fsync: FsyncAlways})
	var l Latch
	var last Future
	for round := range 300 {
		var futures []Future
		for i := range r.IntN(4) {
			futures = append(futures, p.set(Write{Key: fmt.Append(nil, asked, i), Value: p.text("v")}))
		}
		r.Shuffle(len(futures), func(i, j int) { futures[i], futures[j] = futures[j], futures[i] })
		newest, ended := p.newest(), make(chan struct{})
		early := r.IntN(2) == 0
		if early {
			p.ack(newest)
		}
		ctx, cancel := context.WithCancel(t.Context())
		what, limit := r.IntN(10), time.Duration(0)
		if what == 0 {
			limit = time.Nanosecond
		}
		go func() {
			defer close(ended)
			l.Add(Future{})
			l.Add(last) // complete
			for _, f := range futures {
				l.Add(f)
			}
			l.Wait(ctx, limit)
			for _, f := range futures {
				if done, err := f.Done(); what > 2 && (!done || err != nil) {
					t.Errorf("seed %d, round %d: after the wait %v, %v", seed, round, done, err)
				}
			}
		}()
		switch {
		case early || what == 0:
		case what == 1:
			cancel()
		case what == 2:
			p.lead(here, there) // in another leader epoch
			newest = p.newest()
		case len(futures) > 0:
			for seq := newest - uint64(len(futures)); seq < newest; seq++ {
				p.ack(seq)
				select {
				case <-ended:
					t.Fatalf("seed %d, round %d: the wait ended with %d of %d", seed, round, seq, newest)
				default:
				}
			}
			p.ack(newest)
		}
		<-ended
		cancel()
		if n := len(p.sh.waiters.queue); n != 0 {
			t.Fatalf("seed %d, round %d: %d waiters are left", seed, round, n)
		}
		p.ack(newest)
		if len(futures) > 0 {
			last = futures[0]
		}
	}
}

// A latch waits for the newest change of a shard, whatever the order in which it gets them, and syncs what is committed when its
// time is over.
func TestLatchWaitsForTheNewestOfAShard(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	p.Disk().Configure(DiskConfig{Fsync: FsyncAlways})
	var futures []Future
	for i := range 5 {
		futures = append(futures, p.set(Write{Key: fmt.Append(nil, asked, i), Value: p.text("v")}))
	}
	var l Latch
	for _, f := range slices.Backward(futures) {
		l.Add(f)
	}
	if n := len(p.sh.waiters.queue); n != 1 {
		t.Errorf("%d waiters for one shard", n)
	}
	l.Wait(t.Context(), time.Nanosecond)
	for _, i := range []int{0, 4, 2} {
		l.Add(futures[i])
	}
	if n := len(p.sh.waiters.queue); n != 2 {
		t.Errorf("%d waiters for changes 0 and 4", n)
	}
	p.ack(p.newest() - 1)
	if synced, _ := p.sh.writer.log.Synced(futures[3].end); synced {
		t.Fatal("the log is synced before anyone waits")
	}
	l.Add(futures[3])
	l.Wait(t.Context(), time.Nanosecond)
	if done, err := futures[3].Done(); !done || err != nil {
		t.Errorf("a committed change beside one that is late: %v, %v", done, err)
	}
	if done, _ := futures[4].Done(); done {
		t.Error("a change is done before its commit")
	}
	p.ack(p.newest())
}

// A pipeline leaves as a whole, when its client waits. What no one waits for leaves at once.
func TestWhenChangesLeave(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	left := func(what string, want int64) {
		t.Helper()
		if n := p.replicator.unsent.Load(); n != want {
			t.Errorf("%s: %d batches are to be sent, want %d", what, n, want)
		}
	}
	left("the no-op of a leader epoch", 0)
	var l Latch
	for i := range 3 {
		l.Add(p.set(Write{Key: fmt.Append(nil, asked, i), Value: p.text("v"), Expiry: Expiry{At: p.now + 10}}))
		left("a write with a latch", 0)
	}
	l.Wait(t.Context(), time.Nanosecond)
	f := p.set(Write{Key: []byte(asked), Value: p.text("v")})
	p.set(Write{Key: []byte(asked), Value: p.text("w")})
	left("two writes", 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f.Wait(ctx) == nil {
		t.Error("a write is committed without an acknowledgement")
	}
	left("a write that is awaited", 0)
	p.set(Write{Key: []byte(asked), Value: p.text("v"), Concern: ConcernOne})
	left("a write with concern one", 0)
	p.ack(p.newest())
	p.now += 10
	if RemoveExpired(p.sh, 9); p.sh.Keys() != 4 {
		t.Errorf("%d keys", p.sh.Keys())
	}
	left("a removal", 0)
	p.ack(p.newest())
	p.memory.Configure(MemoryConfig{Limit: 1, Policy: AllKeysRandom})
	if p.evictor.evictOne(p.memory.config.Load()) == 0 {
		t.Error("nothing was evicted")
	}
	left("an eviction", 0)
	p.ack(p.newest())
	p.set(Write{Key: []byte(asked), Value: p.text("v")})
	p.configureCopies(func(c *CopyConfig) { c.Write = ConcernOne })
	if _, err := p.sh.Flush(); err != nil {
		t.Error(err)
	}
	left("a flush with concern one", 0)
	p.configureCopies(func(c *CopyConfig) { c.Write = ConcernSync })
	p.ack(p.newest())
	p.row.Learners = []replica.Process{there}
	p.goOn(here)
	p.set(Write{Key: []byte(asked), Value: p.text("v")})
	left("a write of a primary that is alone", 0)
	if p.replicator.sent < 10 {
		t.Errorf("%d records were sent", p.replicator.sent)
	}
}
