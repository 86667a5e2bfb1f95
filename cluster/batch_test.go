package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// recorder stands for raft's leader: it keeps the commands and answers each op with its name.
type recorder struct {
	mu       sync.Mutex
	commands [][]byte
	err      error
	delay    time.Duration
}

func (r *recorder) send(command []byte) (committed, error) {
	time.Sleep(r.delay)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = append(r.commands, command)
	decoded, err := topology.DecodeCommand(command)
	if err != nil {
		return committed{}, err
	}
	result := committed{Index: uint64(len(r.commands))}
	for _, op := range decoded.Ops {
		result.Errs = append(result.Errs, op.Name)
	}
	return result, r.err
}

// sent returns the commands so far.
func (r *recorder) sent() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commands
}

func encoded(t testing.TB, names ...string) []byte {
	t.Helper()
	var c topology.Command
	for _, name := range names {
		c.Ops = append(c.Ops, topology.Op{Kind: topology.ConfigSet, Name: name})
	}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProposalsAtOnceMakeFewEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{delay: 8 * time.Millisecond}
		b := &batcher{send: r.send}
		var all sync.WaitGroup
		for i := range 256 {
			all.Go(func() {
				first, second := fmt.Sprint("a", i), fmt.Sprint("b", i)
				got, err := b.commit(t.Context(), encoded(t, first, second))
				if err != nil || len(got.Errs) != 2 || got.Errs[0] != first || got.Errs[1] != second || got.Index == 0 {
					t.Errorf("proposal %d: %+v, %v", i, got, err)
				}
			})
		}
		all.Wait()
		if n := len(r.sent()); n > 3 {
			t.Errorf("256 proposals at once made %d entries", n)
		}
	})
}

func TestSingleProposalDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batcher{send: new(recorder).send}
		for range 3 {
			time.Sleep(batchTime)
			began := time.Now()
			if _, err := b.commit(t.Context(), encoded(t, "x")); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited != 0 {
				t.Errorf("a proposal after a pause waits %v", waited)
			}
		}
		began := time.Now()
		if _, err := b.commit(t.Context(), encoded(t, "x")); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited == 0 || waited > batchTime {
			t.Errorf("a proposal right after another one waits %v, want at most %v", waited, batchTime)
		}
	})
}

func TestCommandsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := &batcher{send: r.send}
		large := strings.Repeat("x", batchBytes/4)
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				name := fmt.Sprint(large, i)
				if got, err := b.commit(t.Context(), encoded(t, name)); err != nil || got.Errs[0] != name {
					t.Errorf("%v", err)
				}
			})
		}
		for range 2*maxBatch + 10 {
			all.Go(func() {
				if _, err := b.commit(t.Context(), encoded(t, "small")); err != nil {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		all.Wait()
		for i, c := range r.sent() {
			var decoded topology.Command
			if err := json.Unmarshal(c, &decoded); err != nil || len(c) > batchBytes+1024 || len(decoded.Ops) > maxBatch {
				t.Errorf("command %d has %d ops and %d bytes: %v", i, len(decoded.Ops), len(c), err)
			}
		}
		if took := time.Since(began); took > batchTime {
			t.Errorf("commands that are full wait for others: %v", took)
		}
		// A single command beyond the limit goes alone: the controller's own may be large.
		before := len(r.sent())
		if _, err := b.commit(t.Context(), encoded(t, strings.Repeat("y", 2*batchBytes))); err != nil || len(r.sent()) != before+1 {
			t.Errorf("a large command: %v, %d entries", err, len(r.sent())-before)
		}
	})
}

// A field that this version does not know must reach the log, and must not spread to other commands.
func TestMergingKeepsUnknownFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := &batcher{send: r.send}
		if _, err := b.commit(t.Context(), encoded(t, "first")); err != nil { // the rest then waits
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, c := range []string{`{"ops":[{"op":"later","new":1}]}`, `{"ops":[{"op":"later","new":2}]}`, `{"format":9,"ops":[{"op":"later","new":3}]}`} {
			all.Go(func() {
				if _, err := b.commit(t.Context(), []byte(c)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		var texts []string
		for _, c := range r.sent()[1:] {
			texts = append(texts, string(c))
		}
		slices.Sort(texts) // the two are under way at the same time
		if got, want := strings.Join(texts, "\n"), `{"format":9,"ops":[{"op":"later","new":3}]}`+"\n"+`{"ops":[{"op":"later","new":1},{"op":"later","new":2}]}`; got != want {
			t.Errorf("the log has\n%s\nwant\n%s", got, want)
		}
	})
}

func TestMalformedProposalHarmsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := &batcher{send: r.send}
		var all sync.WaitGroup
		for _, c := range []string{"", "x", "[]", "{}", `{"ops":7}`, "null"} {
			all.Go(func() {
				if _, err := b.commit(t.Context(), []byte(c)); err == nil || errors.Is(err, ErrUncertain) {
					t.Errorf("%q: %v", c, err)
				}
			})
		}
		all.Go(func() {
			if got, err := b.commit(t.Context(), encoded(t, "good")); err != nil || got.Errs[0] != "good" {
				t.Errorf("%+v, %v", got, err)
			}
		})
		all.Wait()
		if len(r.sent()) != 1 {
			t.Errorf("%d commands", len(r.sent()))
		}
	})
}

// A proposer that gives up knows whether its command may still be decided.
func TestProposerThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{delay: time.Second}
		b := &batcher{send: r.send}
		sent, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		queued, stop := context.WithTimeout(t.Context(), batchTime/2)
		defer stop()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := b.commit(sent, encoded(t, "sent")); !errors.Is(err, ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("given up after it was sent: %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if _, err := b.commit(queued, encoded(t, "queued")); err == nil || errors.Is(err, ErrUncertain) {
				t.Errorf("given up before it was sent: %v", err)
			}
		})
		all.Wait()
		time.Sleep(2 * time.Second)
		if len(r.sent()) != 1 || strings.Contains(string(r.sent()[0]), "queued") {
			t.Errorf("sent: %s", r.sent())
		}
	})
}

func TestFailureOfACommandReachesAllItsProposers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{err: ErrUncertain}
		b := &batcher{send: r.send}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := b.commit(t.Context(), encoded(t, "x")); !errors.Is(err, ErrUncertain) {
					t.Errorf("%v", err)
				}
			})
		}
		all.Wait()
	})
}

// Each decision is followed by a barrier that began after it, and at most one barrier is under way.
func TestBarrierFollowsEachDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []time.Time
		running := 0
		s := &spreader{}
		s.barrier = func() {
			mu.Lock()
			began = append(began, time.Now())
			running++
			if running > 1 {
				t.Error("two barriers at a time")
			}
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
		}
		last := time.Now()
		for i := range 100 {
			time.Sleep(time.Millisecond)
			last = time.Now()
			s.decided()
			if i == 0 {
				synctest.Wait()
				if len(began) != 1 || began[0] != last {
					t.Error("the first barrier waits")
				}
			}
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if n := len(began); n > 12 || began[n-1].Before(last) {
			t.Errorf("%d barriers, the last one %v after the last decision", n, began[n-1].Sub(last))
		}
	})
}

// A command that cannot be decoded is refused alone: the others of the same moment are decided.
func TestMalformedProposalIsRefusedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := &batcher{send: r.send, sent: time.Now()}
		var all sync.WaitGroup
		for _, malformed := range []string{`{"ops":[5]}`, `{"ops":[{"op":"config-set","epoch":"x"}]}`, `{"ops":{}}`, `{}`, `5`, ``} {
			all.Go(func() {
				if got, err := b.commit(t.Context(), []byte(malformed)); err == nil || errors.Is(err, ErrUncertain) {
					t.Errorf("%s: %+v, %v", malformed, got, err)
				}
			})
		}
		all.Go(func() {
			if got, err := b.commit(t.Context(), encoded(t, "a")); err != nil || len(got.Errs) != 1 {
				t.Errorf("%+v, %v", got, err)
			}
		})
		all.Wait()
	})
}
