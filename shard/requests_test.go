package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// requestCase is a write with a request id and what happens between it and its repeat.
type requestCase struct {
	name  string
	setup func(l *lab)
	write func(w *Write, now int64)
	after func(l *lab)
	large bool
	done  bool
}

const asked = "{0}k" // the key of all cases

func requestCases() []requestCase {
	some := func(l *lab) { l.put(asked, 10, 0) }
	nx := func(w *Write, _ int64) { w.Condition = IfMissing }
	gone := func(l *lab) { must(l.t, 0, settleAll(l.Store.Flush())) }
	none := func(*lab) {}
	deleted := func(l *lab) {
		_, err := settled(l.of(asked).Delete(keys(asked)))
		must(l.t, 0, err)
	}
	return []requestCase{
		{"done", none, nx, none, false, true},
		{"done, then deleted", none, nx, deleted, false, true},
		{"done, then flushed", none, nx, gone, false, true},
		{"done, then overwritten", none, nx, some, false, true},
		{"done, then evicted", none, nx, func(l *lab) {
			e := l.of(asked).Peek([]byte(asked))
			l.evictor.evict(&candidate{shard: l.of(asked), entry: e, hash: hashOf([]byte(asked))})
			e.Release()
		}, false, true},
		{"done, then expired", none, func(w *Write, now int64) { w.Condition, w.Expiry.At = IfMissing, now+5 }, func(l *lab) { l.now += 10 }, false, true},
		{"done, then freed", none, func(w *Write, now int64) { w.Condition, w.Expiry.At = IfMissing, now+5 }, func(l *lab) {
			l.now += 10
			RemoveExpired(l.of(asked), 10)
		}, false, true},
		{"a large value, then deleted", none, nx, deleted, true, true},
		{"a large value, then expired", none, func(w *Write, now int64) { w.Condition, w.Expiry.At = IfMissing, now+5 }, func(l *lab) { l.now += 10 }, true, true},
		{"already expired", some, func(w *Write, now int64) { w.Condition, w.Expiry.At = IfPresent, now-1 }, some, false, true},
		{"refused, key exists", some, nx, deleted, false, false},
		{"refused, key missing", none, func(w *Write, _ int64) { w.Condition = IfPresent }, some, false, false},
		{"refused, another version", some, func(w *Write, _ int64) { w.Condition, w.IfVersion = IfVersion, Version{1, 1} }, none, false, false},
	}
}

// requestStops are the ways in which a process ends. The next process finds its files.
var requestStops = map[string]func(l *lab){
	"killed": (*lab).kill,
	"stopped": func(l *lab) {
		must(l.t, 0, l.Close(l.t.Context(), true))
		l.Release()
	},
	"stopped without a snapshot": func(l *lab) {
		must(l.t, 0, l.Close(l.t.Context(), false))
		l.Release()
	},
	"killed after a snapshot": func(l *lab) {
		must(l.t, 0, l.Disk().Save())
		l.kill()
	},
}

// A repeat gets the outcome of the first attempt, whatever happened in between and however often
// the node was restarted.
func TestRequestsOverARestart(t *testing.T) {
	t.Parallel()
	for stop, end := range requestStops {
		for _, c := range requestCases() {
			for _, logged := range []bool{true, false} {
				if saved := stop == "stopped" || stop == "killed after a snapshot"; !logged && !saved {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s, logged %v", c.name, stop, logged), func(t *testing.T) {
					t.Parallel()
					mem := vfs.NewMem()
					start := func(now int64) *lab {
						l, err := openLabAt(t, mem, "a", FsyncEverysec, logged, now)
						must(t, l, err)
						l.context = t.Context()
						return l
					}
					l := start(1_000_000)
					c.setup(l)
					send := func(id string) Outcome {
						w := Write{Key: []byte(asked), RequestID: id}
						n := 10
						if c.large {
							n = persistence.BlobBytes
						}
						w.Value, _ = l.value("v", n, false)
						c.write(&w, 1_000_000)
						o, err := settled(l.of(asked).Set(w))
						return must(t, o, err)
					}
					first := send("once")
					if first.Done != c.done {
						t.Fatalf("the first attempt: %v", first)
					}
					c.after(l)
					for restart := range 2 {
						now := l.now + requestLifetime - 1
						end(l)
						l = start(now)
						before := l.contents()
						l.now += requestLifetime - 1
						if again := send("once"); again != first {
							t.Errorf("after start %d: %v, the first attempt %v", restart, again, first)
						}
						if same := fmt.Sprint(before) == fmt.Sprint(l.contents()); !same {
							t.Errorf("after start %d: a repeat has changed something", restart)
						}
						if c.name == "done" && send("another").Done {
							t.Errorf("after start %d: another request is taken for the first", restart)
						}
						l.now -= requestLifetime - 1 // the next snapshot still has it
					}
					end(l)
				})
			}
		}
	}
}

// The reply to a repeat must be as durable as the reply to the first attempt: with always, it
// survives a loss of power.
func TestRepeatWaitsForTheSync(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(20) {
		mem := vfs.NewMem()
		l := mustLab(t, mem, FsyncAlways)
		sh := l.of(asked)
		write := func() Write {
			v, _ := l.value("v", 10, false)
			return Write{Key: []byte(asked), Value: v, Condition: IfMissing, RequestID: "once"}
		}
		var first Outcome
		_, err := sh.writer.update(sh, func(tx *Tx) { first, _ = tx.Set(write()) }) // its client disconnects before the sync
		must(t, 0, err)
		again, err := settled(sh.Set(write()))
		if must(t, again, err) != first || !again.Done {
			t.Fatalf("a repeat: %v, the first attempt %v", again, first)
		}
		image := mem.Crash(rand.New(rand.NewPCG(seed, round)))
		l.kill()
		l, err = openLab(t, image, "b", FsyncAlways)
		must(t, l, err)
		if !l.has(asked) {
			t.Fatal("the repeat reported a write that is lost")
		}
		l.kill()
	}
}

// A repeat is answered even if the disk is full.
func TestRepeatNeedsNoSpace(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	send := func() (Outcome, error) {
		v, _ := l.value("v", persistence.BlobBytes, true)
		return settled(l.of(asked).Set(Write{Key: []byte(asked), Value: v, Condition: IfMissing, RequestID: "once"}))
	}
	first, err := send()
	must(t, first, err)
	l.Disk().Configure(DiskConfig{Fsync: FsyncEverysec, Reserve: 1000})
	mem.SetFree(999)
	l.disk.guard.check()
	if again, err := send(); err != nil || again != first {
		t.Errorf("%v %v, the first attempt %v", again, err, first)
	}
	l.kill()
}

// A repeat within one transaction is recognized too. A transaction that fails records no outcome.
func TestRequestsOfATransaction(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	write := func(id string) Write {
		return Write{Key: []byte("k"), Value: f.value("v"), Condition: IfMissing, RequestID: id}
	}
	var outcomes []Outcome
	must(t, 0, settle(f.Update(true, func(tx *Tx) {
		for _, id := range []string{"a", "a", "b", "b", "a"} {
			o, err := tx.Set(write(id))
			outcomes = append(outcomes, must(t, o, err))
		}
	})))
	done := Outcome{true, Version{epoch, 1}}
	if want := []Outcome{done, done, {}, {}, done}; !slices.Equal(outcomes, want) {
		t.Errorf("%v, want %v", outcomes, want)
	}
	if n, m := len(f.requests.index), len(f.requests.queue); n != 2 || m != 2 {
		t.Errorf("%d requests are known, the queue has %d", n, m)
	}
	mem := vfs.NewMem()
	broken := false
	l, err := openLab(t, vfs.NewFaulty(mem, func(int) error {
		if broken {
			return errIO
		}
		return nil
	}), "a", FsyncEverysec)
	must(t, l, err)
	sh := l.of(asked)
	refuse := func() (Outcome, error) {
		v, _ := l.value("v", 10, false)
		return settled(sh.Set(Write{Key: []byte(asked), Value: v, Condition: IfPresent, RequestID: "once"}))
	}
	broken = true
	if _, err := refuse(); !errors.Is(err, ErrDisk) {
		t.Errorf("a write that cannot be logged: %v", err)
	}
	broken = false
	l.put(asked, 10, 0)
	if o, err := refuse(); err != nil || !o.Done {
		t.Errorf("a failed request is remembered: %v %v", o, err)
	}
	l.kill()
}

// However many requests a log has and however long their keys are, a shard remembers the last maxRequests
// and takes little memory for them.
func TestRequestsInALogAreBounded(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	key := []byte(asked + strings.Repeat("k", 1000))
	send := func(i int) Outcome {
		v, _ := l.value("v", 10, false)
		o, err := settled(l.of(asked).Set(Write{Key: key, Value: v, Condition: IfPresent, RequestID: fmt.Sprint(i)}))
		return must(t, o, err)
	}
	const n = maxRequests + 100
	for i := range n {
		l.now = 1_000_000 + int64(i)/2 // none is forgotten for its age, and there is always one that may go
		send(i)
	}
	if log, _, _ := l.of(asked).writer.log.Sizes(); log > n*200 {
		t.Errorf("each refused write takes %d bytes of the log", log/n)
	}
	l.kill()
	l = mustLab(t, mem, FsyncEverysec)
	for saved := range 2 {
		if got := len(l.of(asked).requests.index); got != maxRequests {
			t.Errorf("%d requests are known", got)
		}
		v, _ := l.value("v", 10, false)
		o, err := settled(l.of(asked).Set(Write{Key: key, Value: v}))
		must(t, o, err)
		if send(n - 1).Done {
			t.Error("the newest request is unknown")
		}
		if saved == 0 {
			must(t, 0, l.Close(t.Context(), true))
			l.Release()
			l = mustLab(t, mem, FsyncEverysec)
		}
	}
	l.now += requestLifetime
	expireRequests(l.Store)
	if l.of(asked).requests.index != nil || l.of(asked).requests.queue != nil {
		t.Error("the memory of old requests is kept")
	}
	l.kill()
}

// A write that a loss of power has undone never happened: its repeat is a first attempt.
func TestLostWriteIsNotRemembered(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	send := func(key string, n int) Outcome {
		v, _ := l.value("v", n, false)
		o, err := settled(l.of(key).Set(Write{Key: []byte(key), Value: v, Condition: IfMissing, RequestID: "once"}))
		return must(t, o, err)
	}
	kept := send("{0}before", 10)
	send("{0}large", persistence.BlobBytes)
	send("{0}behind", 10)
	blobs, err := mem.List(blobDirOf(l.of(asked)))
	if must(t, blobs, err); len(blobs) != 1 {
		t.Fatal(blobs)
	}
	must(t, 0, mem.Remove(blobDirOf(l.of(asked))+"/"+blobs[0].Name)) // it was not synced
	l.kill()
	l, err = openLab(t, mem, "b", FsyncEverysec)
	must(t, l, err)
	if again := send("{0}before", 10); again != kept {
		t.Errorf("a repeat of the surviving write: %v, the first attempt %v", again, kept)
	}
	for _, key := range []string{"{0}large", "{0}behind"} {
		if o := send(key, 10); !o.Done || !l.has(key) {
			t.Errorf("%s: a lost write is reported as done: %v", key, o)
		}
	}
	l.kill()
}

// A log may have many more requests than a shard remembers. A recovery does not keep them all until its end.
func TestRecoveryBoundsRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := recovery{copy: &f.localCopy}
	for i := range uint64(maxRequests + 100) {
		answers := appendAnswers(nil, []answer{{requestOf([]byte("k"), fmt.Sprint(i)), Outcome{true, Version{1, i + 1}}}})
		r.Observe(&persistence.Record{Type: persistence.Delete, Meta: answers})
	}
	if n := len(f.requests.index); n != maxRequests {
		t.Errorf("the recovery keeps %d requests", n)
	}
}
