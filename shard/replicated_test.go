package shard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/replica"
)

// The other copy never answers, and the epoch changes meanwhile, within the leader epoch and beyond it: no row waits for a
// client, no client hangs, and each learns that the outcome of its write is uncertain.
func TestSilentReplicatorBlocksNobody(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	const clients = 8
	var all sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[error]int{}
	begun := make(chan struct{}, clients)
	for i := range clients {
		all.Go(func() {
			key := fmt.Appendf(nil, "%s%d", asked, i)
			if !p.sh.Acquire() {
				t.Error("the shard is closed")
				return
			}
			var f Future
			var err error
			switch i % 4 {
			case 0:
				_, f, err = p.sh.Set(Write{Key: key, Value: p.text("v")})
			case 1:
				f, err = p.sh.SetAll([]Write{{Key: key, Value: p.text("v")}})
			case 2:
				f, err = p.sh.Update(true, func(tx *Tx) { tx.Set(Write{Key: key, Value: p.text("v"), Condition: IfMissing}) })
			case 3:
				_, f, err = p.sh.Set(Write{Key: key, Value: p.text("v"), RequestID: "once"})
			}
			p.sh.Release()
			must(t, 0, err)
			begun <- struct{}{}
			err = f.Wait(t.Context())
			mu.Lock()
			defer mu.Unlock()
			outcomes[err]++
		})
	}
	for range clients {
		<-begun
	}
	rows := make(chan struct{})
	go func() {
		defer close(rows)
		p.goOn(here, there)
		if !p.sh.Serving() {
			t.Error("a later epoch of the same leader epoch has closed the shard")
		}
		p.depose()
	}()
	select {
	case <-rows:
	case <-time.After(20 * time.Second):
		t.Fatal("a row waits for clients whose writes no copy acknowledges")
	}
	all.Wait()
	for err, n := range outcomes {
		if !errors.Is(err, ErrUncertain) {
			t.Errorf("%d clients got %v", n, err)
		}
	}
	if p.sh.Serving() || p.sh.Keys() != 0 {
		t.Errorf("serving %v, readers see %d keys", p.sh.Serving(), p.sh.Keys())
	}
}

// A writer that waits for room is inside the gate. It leaves when a row closes the gate.
func TestRoomEndsWithTheGate(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	p.replicator.room = make(chan struct{})
	result := make(chan error, 1)
	go func() {
		if !p.sh.Acquire() {
			t.Error("the shard is closed")
		}
		_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
		p.sh.Release()
		result <- err
	}()
	eventually(t, "the writer is inside", func() bool { return p.sh.gate.state.Load() == 1 })
	p.depose()
	if err := <-result; !errors.Is(err, ErrTryAgain) {
		t.Errorf("the writer got %v", err)
	}
}

// A reply that rests on another client's uncommitted change waits for it, and then needs the lease: an outcome that another
// primary has changed since must not leave.
func TestReplyOnSuffixNeedsTheLease(t *testing.T) {
	t.Parallel()
	key := []byte(asked)
	replies := map[string]func(p *pair) (Future, error){
		"NX null": func(p *pair) (Future, error) {
			o, f, err := p.sh.Set(Write{Key: key, Value: p.text("w"), Condition: IfMissing})
			if o.Done {
				p.t.Error("NX has not seen the uncommitted value")
			}
			return f, err
		},
		"EXEC that reads": func(p *pair) (Future, error) {
			return p.sh.Update(false, func(tx *Tx) {
				if e := tx.Get(key, false); e == nil {
					p.t.Error("EXEC has not seen the uncommitted value")
				} else {
					e.Release()
				}
			})
		},
		"EXPIRE of a missing key": func(p *pair) (Future, error) {
			_, f, err := p.sh.Expire([]byte(asked+"missing"), p.now+1000, ExpireCondition{})
			return f, err
		},
	}
	for name, reply := range replies {
		p := newPair(t, false)
		_, own, err := p.sh.Set(Write{Key: key, Value: p.text("v")})
		must(t, 0, err)
		f, err := reply(p)
		must(t, 0, err)
		rests := name != "EXPIRE of a missing key"
		if done, _ := f.Done(); done || rests == f.Visible() {
			t.Errorf("%s: done %v, visible %v before the commit", name, done, f.Visible())
		}
		p.ack(p.newest())
		if err := own.Wait(t.Context()); err != nil {
			t.Errorf("%s: a write whose own record is committed: %v", name, err)
		}
		if done, _ := f.Done(); done {
			t.Errorf("%s: complete without the lease", name)
		}
		if _, ok := p.sh.Leased(p.mono()); ok {
			t.Errorf("%s: the shard has a lease that no copy gave", name)
		}
		if err := f.Wait(t.Context()); !errors.Is(err, ErrTryAgain) {
			t.Errorf("%s: without the lease: %v", name, err)
		}
		p.goOn(here)
		if err := f.Wait(t.Context()); err != nil {
			t.Errorf("%s: alone in the ISR: %v", name, err)
		}
		p.end()
	}
}

// WATCH marks what readers see, so EXEC notices a value that was uncommitted when its key was marked.
func TestWatchMarksTheIndex(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	key := []byte(asked)
	set := func(text string) {
		_, _, err := p.sh.Set(Write{Key: key, Value: p.text(text)})
		must(t, 0, err)
	}
	inTx := func() (m Mark) {
		_, err := p.sh.Update(false, func(tx *Tx) { m = tx.Mark(key) })
		must(t, 0, err)
		return m
	}
	missing := p.sh.Mark(key)
	if inTx() != missing {
		t.Error("two marks of a missing key differ")
	}
	p.goOn(here, there)
	if inTx() != missing {
		t.Error("a change of the ISR alone has changed the mark of a missing key")
	}
	set("first")
	if p.sh.Mark(key) != missing || inTx() == missing {
		t.Error("the mark is of the suffix, or EXEC looks at the index alone")
	}
	p.ack(p.newest())
	first := p.sh.Mark(key)
	set("second")
	marked := p.sh.Mark(key) // and its client reads "first"
	p.ack(p.newest())
	if marked != first || inTx() == marked {
		t.Error("a transaction would overwrite a value that its client has not read")
	}
}

// An unsealed row opens its primary only when G has passed, by the clock and by ticks.
func TestUnsealedRowWaits(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	p.depose()
	p.row = replica.Config{Epoch: p.row.Epoch + 1, LeaderEpoch: p.row.Epoch + 1, Primary: here, ISR: []replica.Process{here}, Unsealed: true}
	must(t, 0, p.sh.Role().Configure(p.row))
	tick := func() { p.sh.Role().Tick(p.mono(), p.CountTick(), true) }
	for range replica.DefaultTimes.SilenceTicks - 1 {
		p.now += 50
		tick()
	}
	if p.sh.Serving() {
		t.Error("the shard is open before its ticks have passed")
	}
	p.now += 50
	tick()
	if !p.sh.Serving() {
		t.Error("the shard is not open after G")
	}
	p.sh.Role().Close()
	tick()
	if p.sh.Serving() {
		t.Error("a tick has opened a shard that was closed")
	}
}

// A member of the ISR that hears no primary reports the end of its log, at once if its row is relinquished.
func TestReports(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	_, f, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
	must(t, f, err)
	end := replica.Point{Epoch: p.row.Epoch, Seq: p.newest()}
	row := replica.Config{Epoch: p.row.Epoch + 1, LeaderEpoch: p.row.LeaderEpoch, ISR: []replica.Process{here, there}}
	must(t, 0, p.sh.Role().Configure(row))
	tick := func(raftLeader bool) bool {
		wish := p.sh.Role().Tick(p.mono(), p.CountTick(), raftLeader)
		report, at := wish.Report, wish.End
		if report && at != end {
			t.Errorf("the report is of %v, the log ends at %v", at, end)
		}
		return report
	}
	if tick(true) {
		t.Error("a report before G")
	}
	row.Epoch++
	row.Relinquished = true
	must(t, 0, p.sh.Role().Configure(row))
	if tick(false) {
		t.Error("a report without a raft leader")
	}
	for _, which := range []string{"first", "repeated"} {
		if !tick(true) {
			t.Errorf("no %s report of a relinquished row", which)
		}
	}
}

// A write needs enough clean members in the ISR before anything happens.
func TestTooFewReplicas(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	p.configureCopies(func(c *CopyConfig) { c.MinInSync = 2 })
	p.goOn(here)
	before := p.newest()
	_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
	if !errors.Is(err, ErrNoReplicas) || p.newest() != before || p.has(asked) {
		t.Errorf("with one clean copy of two: %v", err)
	}
	p.goOn(here, there)
	if _, _, err = p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")}); err != nil {
		t.Errorf("with two: %v", err)
	}
}

// A wait ends with the commit, with the deposition of the primary, or with its context.
func TestFuture(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	set := func(key string) Future {
		_, f, err := p.sh.Set(Write{Key: []byte(key), Value: p.text("v")})
		return must(t, f, err)
	}
	wait := func(f Future) chan error {
		result := make(chan error, 1)
		go func() { result <- f.Wait(t.Context()) }()
		return result
	}
	first, second := set(asked), set(asked+"2")
	results := []chan error{wait(second), wait(first)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Wait(ctx); !errors.Is(err, ErrUncertain) {
		t.Errorf("a wait that was given up: %v", err)
	}
	if p.has(asked) || first.Visible() {
		t.Error("a reader sees what is not committed")
	}
	p.ack(p.newest() - 1)
	if err := <-results[1]; err != nil || !p.has(asked) || p.has(asked+"2") {
		t.Errorf("after its commit: %v", err)
	}
	p.goOn(here, there) // a later epoch of the same leader epoch fails no write
	if done, err := second.Done(); done || err != nil {
		t.Errorf("in a later epoch: %v, %v", done, err)
	}
	p.depose()
	if err := <-results[0]; !errors.Is(err, ErrUncertain) {
		t.Errorf("after the primary was deposed: %v", err)
	}
	if err := first.Wait(t.Context()); err != nil {
		t.Errorf("a committed write of a former leader epoch: %v", err)
	}
}

// An expired or evicted entry goes when its removal is committed, and is not chosen twice.
func TestRemovalsWaitForTheirCommit(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	for i := range 3 {
		_, _, err := p.sh.Set(Write{Key: fmt.Append(nil, asked, i), Value: p.text("v"), Expiry: Expiry{At: p.now + 10}})
		must(t, 0, err)
	}
	p.ack(p.newest())
	p.now += 10
	before := p.newest()
	if RemoveExpired(p.sh, 2) != true || p.newest() != before+2 || p.sh.Keys() != 3 {
		t.Errorf("%d records, %d keys are left", p.newest()-before, p.sh.Keys())
	}
	for range 2 {
		RemoveExpired(p.sh, 2)
	}
	if p.newest() != before+3 {
		t.Errorf("%d removals of 3 keys", p.newest()-before)
	}
	p.memory.Configure(MemoryConfig{Limit: 1, Policy: AllKeysRandom})
	if p.evictor.evictOne(p.memory.config.Load()) != 0 {
		t.Error("an entry that is about to go was evicted")
	}
	p.ack(p.newest())
	if p.sh.Keys() != 0 || p.memory.going.Load() != 0 {
		t.Errorf("after the commit %d keys are left, %d bytes are about to be freed", p.sh.Keys(), p.memory.going.Load())
	}
}

// What is about to be freed counts as free up to a limit. Beyond it a writer that needs room waits for commits.
func TestWriterWaitsForRemovals(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	p.memory.MeasureBy(func() memory.Program { return memory.Program{} })
	const size = 8 << 20
	for i := range 6 {
		v := Value{Buffer: p.pool.NewFramed(0, size, 0)}
		v.NPY = v.Buffer.Bytes()
		_, _, err := p.sh.Set(Write{Key: fmt.Append(nil, asked, i), Value: v})
		must(t, 0, err)
	}
	p.ack(p.newest())
	p.memory.Configure(MemoryConfig{Limit: p.memory.Used(), Policy: AllKeysRandom, Samples: 5})
	for i := range 4 { // 32 MiB and a little more are about to go
		if !p.EvictFor(size * int64(i+1)) {
			t.Fatal("an eviction was refused")
		}
	}
	going := p.memory.going.Load()
	if going < maxGoing || going > maxGoing+2*size || p.sh.Keys() != 6 {
		t.Fatalf("%d bytes are about to be freed, %d keys are there", going, p.sh.Keys())
	}
	done := make(chan bool, 1)
	go func() { done <- p.EvictFor(5 * size) }()
	select {
	case <-done:
		t.Fatal("a writer that needs more room has not waited")
	case <-time.After(50 * time.Millisecond):
	}
	p.ack(p.newest())
	if !<-done {
		t.Error("the writer was refused after the commit")
	}
	p.ack(p.newest())
}

// What the own log refuses must not exist elsewhere.
func TestNothingIsSentBeforeTheLogHasIt(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	sent, end := p.replicator.sent, p.newest()
	p.broken = true
	if _, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")}); !errors.Is(err, ErrDisk) {
		t.Errorf("a write that cannot be logged: %v", err)
	}
	if p.replicator.sent != sent || p.newest() != end || !p.sh.suffix.empty() {
		t.Errorf("%d changes were sent, the log ends at %d, before at %d", p.replicator.sent-sent, p.newest(), end)
	}
	p.broken = false
	if _, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")}); err != nil || p.replicator.sent != sent+1 {
		t.Errorf("the next write: %v, %d changes were sent", err, p.replicator.sent-sent)
	}
}

// A shard whose only value is not committed yet holds a value: it is not handed over as empty.
func TestUncommittedValueIsNotHandedOver(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
	if must(t, 0, err); p.sh.Role().CloseIfEmpty(p.row.Epoch) {
		t.Error("a shard with an uncommitted value was closed as empty")
	}
}

// The request of a change that was taken back never happened: its repeat is a first attempt.
func TestTruncatedRequestIsForgotten(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	set := func() (Outcome, Future) {
		o, f, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v"), Condition: IfMissing, RequestID: "once"})
		must(t, 0, err)
		return o, f
	}
	committed := p.newest()
	first, lost := set()
	if again, f := set(); again != first || f.Visible() {
		t.Errorf("a repeat got %v before the commit, the first attempt %v; visible %v", again, first, f.Visible())
	}
	p.depose()
	p.truncate(committed)
	if err := lost.Wait(t.Context()); !errors.Is(err, ErrUncertain) {
		t.Errorf("the write that was taken back: %v", err)
	}
	p.replicator.last = replica.Point{}
	p.lead(here)
	if again, f := set(); again == first || !again.Done || f != (Future{}) || !p.has(asked) {
		t.Errorf("the repeat got %v, the attempt that never happened %v", again, first)
	}
}

// A primary that could not write the no-op of its leader epoch tries again when it is taken to the row again. The shard opens
// even if the ISR has too few clean members for writes: it can still be read.
func TestNoOpIsRepeatedAfterAnError(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	p.depose()
	p.configureCopies(func(c *CopyConfig) { c.MinInSync = 3 })
	p.row = replica.Config{Epoch: p.row.Epoch + 1, LeaderEpoch: p.row.Epoch + 1, Born: 1, Primary: here, ISR: []replica.Process{here, there}}
	p.broken = true
	if err := p.sh.Role().Configure(p.row); err == nil {
		t.Error("a primary serves whose log refuses the no-op")
	}
	p.broken = false
	for range 2 {
		must(t, 0, p.sh.Role().Configure(p.row))
	}
	p.ack(p.newest())
	if !p.sh.Serving() {
		t.Error("the shard is closed after the other copy has acknowledged all of the log")
	}
}

// FLUSHALL of a shard that looks empty rests on that look.
func TestFlushOfNothingNeedsTheLease(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	before := p.newest()
	f, err := p.sh.Flush()
	if done, failed := f.Done(); err != nil || done || !errors.Is(failed, ErrTryAgain) || p.newest() != before {
		t.Errorf("without the lease: %v, done %v, %v", err, done, failed)
	}
	p.goOn(here)
	if f, err = p.sh.Flush(); err != nil || f != (Future{}) {
		t.Errorf("alone: %v, %v", f, err)
	}
}
