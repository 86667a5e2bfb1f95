package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
)

func TestConditions(t *testing.T) {
	f := newFixture(t)
	if f.set("k", "a", xx).Done || f.set("k", "a", ifVersion(Version{epoch, 1})).Done {
		t.Error("a condition on a missing key holds")
	}
	first := f.set("k", "a", nx)
	if !first.Done || first.Version != (Version{epoch, 1}) {
		t.Errorf("NX on a missing key: %+v", first)
	}
	if f.set("k", "b", nx).Done {
		t.Error("NX on an existing key holds")
	}
	f.want("k", "a")
	second := f.set("k", "b", ifVersion(first.Version))
	if !second.Done || !second.Version.After(first.Version) {
		t.Errorf("IFVERSION of the stored version: %+v", second)
	}
	if f.set("k", "c", ifVersion(first.Version)).Done {
		t.Error("IFVERSION of an older version holds")
	}
	if !f.set("k", "c", xx).Done {
		t.Error("XX on an existing key does not hold")
	}
	f.want("k", "c")
}

func TestTimeToLiveIsExactToTheMillisecond(t *testing.T) {
	f := newFixture(t)
	start := f.now
	f.set("k", "a", at(start+10))
	f.set("never", "n")
	for ms := range int64(13) {
		f.now = start + ms
		alive := ms < 10
		if got := f.get("k") != ""; got != alive {
			t.Errorf("after %d ms: Get finds it: %v", ms, got)
		}
		if got := f.Exists(keys("k", "never", "k"), false); got != 1+2*boolInt(alive) {
			t.Errorf("after %d ms: Exists counts %d", ms, got)
		}
		all := f.GetAll(keys("k", "never", "none"), true)
		if (all[0] != nil) != alive || all[1] == nil || all[2] != nil {
			t.Errorf("after %d ms: GetAll finds %v", ms, all)
		}
		for _, e := range all {
			if e != nil {
				e.Release()
			}
		}
		want := start + 10
		if !alive {
			want = NoKey
		}
		if deadline, now := f.Deadline([]byte("k")); deadline != want || now != f.now {
			t.Errorf("after %d ms: Deadline is %d at %d", ms, deadline, now)
		}
	}
	if f.set("k", "b", xx).Done || f.Delete(keys("k")) != 0 || f.Persist([]byte("k")) || f.Expire([]byte("k"), f.now+5, ExpireCondition{}) {
		t.Error("an expired key exists")
	}
	if !f.set("k", "b", nx).Done {
		t.Error("an expired key fails NX")
	}
	if deadline, _ := f.Deadline([]byte("k")); deadline != NoDeadline {
		t.Errorf("the new value has the deadline %d of the old one", deadline)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestExpiredEntriesFreeMemory(t *testing.T) {
	f := newFixture(t)
	for i := range 1000 {
		f.set(fmt.Sprint(i), "abc", at(f.now+int64(1+i)))
	}
	f.set("never", "abc")
	f.now += 600
	for RemoveExpired(f.Shard, 7) {
	}
	if n := f.pool.Buffers(); n != 401 {
		t.Errorf("%d buffers are held, want 401", n)
	}
	if n := f.index.counts.expired.Load(); n != 600 {
		t.Errorf("%d entries are counted as expired", n)
	}
	f.now += 10_000
	if RemoveExpired(f.Shard, 400) || f.pool.Buffers() != 1 {
		t.Errorf("%d buffers are held, want 1", f.pool.Buffers())
	}
}

// Open frees expired entries in the background.
func TestStoreFreesExpiredEntries(t *testing.T) {
	var pool memory.Pool
	store := NewStore(16, epoch, func() int64 { return time.Now().UnixMilli() }, &pool)
	store.Open(t.Context())
	defer func() { must(t, 0, store.Close(t.Context(), false)) }()
	for i := range 16 {
		store.Shard(i).Set(Write{Key: []byte("k"), Value: Value{NPY: []byte("abc")}, Expiry: Expiry{At: store.Now() + 20}})
	}
	for deadline := time.Now().Add(30 * time.Second); pool.Buffers() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d buffers are still held", pool.Buffers())
		}
	}
	if s := store.Stats(); s.Keys != 0 || s.KeysWithTTL != 0 || s.Expired != 16 {
		t.Errorf("%+v", s)
	}
}

func TestWritesAndTimeToLive(t *testing.T) {
	f := newFixture(t)
	deadline := func() int64 { at, _ := f.Deadline([]byte("k")); return at }
	f.set("k", "a", at(f.now+10))
	f.set("k", "b", keepTTL)
	if deadline() != f.now+10 {
		t.Errorf("KEEPTTL: %d", deadline())
	}
	f.set("k", "c")
	if deadline() != NoDeadline {
		t.Errorf("a plain write leaves the deadline %d", deadline())
	}
	f.set("k", "d", keepTTL)
	if deadline() != NoDeadline {
		t.Errorf("KEEPTTL without a deadline: %d", deadline())
	}
	// A deadline in the past: the write is done and the key is gone, as in Redis.
	if o := f.set("k", "e", at(f.now)); !o.Done || f.get("k") != "" || f.pool.Buffers() != 0 {
		t.Errorf("a write with a past deadline: %+v, %q is stored, %d buffers", o, f.get("k"), f.pool.Buffers())
	}
	f.set("k", "f", at(f.now+10))
	if !f.Persist([]byte("k")) || f.Persist([]byte("k")) || deadline() != NoDeadline {
		t.Error("Persist")
	}
}

// As Redis documents EXPIRE: GT and LT treat a missing deadline as infinitely late.
func TestExpireConditions(t *testing.T) {
	none, early, late := int64(0), int64(1_000_100), int64(1_000_300)
	for _, test := range []struct {
		name      string
		condition ExpireCondition
		old       int64
		want      bool
	}{
		{"always, none", ExpireCondition{}, none, true},
		{"always, early", ExpireCondition{}, early, true},
		{"NX, none", ExpireCondition{NX: true}, none, true},
		{"NX, early", ExpireCondition{NX: true}, early, false},
		{"XX, none", ExpireCondition{XX: true}, none, false},
		{"XX, early", ExpireCondition{XX: true}, early, true},
		{"GT, none", ExpireCondition{GT: true}, none, false},
		{"GT, early", ExpireCondition{GT: true}, early, true},
		{"GT, same", ExpireCondition{GT: true}, 1_000_200, false},
		{"GT, late", ExpireCondition{GT: true}, late, false},
		{"LT, none", ExpireCondition{LT: true}, none, true},
		{"LT, early", ExpireCondition{LT: true}, early, false},
		{"LT, same", ExpireCondition{LT: true}, 1_000_200, false},
		{"LT, late", ExpireCondition{LT: true}, late, true},
		{"XX GT, none", ExpireCondition{XX: true, GT: true}, none, false},
		{"XX LT, none", ExpireCondition{XX: true, LT: true}, none, false},
		{"XX LT, late", ExpireCondition{XX: true, LT: true}, late, true},
	} {
		f := newFixture(t)
		f.set("k", "a", at(test.old))
		if got := f.Expire([]byte("k"), 1_000_200, test.condition); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
		want := test.old
		if test.want {
			want = 1_000_200
		}
		if want == 0 {
			want = NoDeadline
		}
		if deadline, _ := f.Deadline([]byte("k")); deadline != want {
			t.Errorf("%s: the deadline is %d, want %d", test.name, deadline, want)
		}
	}
	f := newFixture(t)
	f.set("k", "a")
	if !f.Expire([]byte("k"), f.now, ExpireCondition{}) || f.pool.Buffers() != 0 || f.Expire([]byte("k"), f.now, ExpireCondition{}) {
		t.Error("a past deadline does not delete")
	}
}

func TestVersionsNeverDecrease(t *testing.T) {
	f := newFixture(t)
	var last Version
	next := func(o Outcome) {
		t.Helper()
		if !o.Done || !o.Version.After(last) {
			t.Errorf("version %v after %v", o.Version, last)
		}
		last = o.Version
	}
	next(f.set("k", "a"))
	next(f.set("k", "b"))
	f.Delete(keys("k"))
	next(f.set("k", "c"))
	f.Flush()
	next(f.set("k", "d", at(f.now+5)))
	f.now += 10
	next(f.set("k", "e"))
	next(f.set("k", "f", at(1)))
	next(f.set("k", "g"))
}

func TestRequestIDs(t *testing.T) {
	f := newFixture(t)
	first := f.set("k", "a", nx, requestID("1"))
	if again := f.set("k", "a", nx, requestID("1")); again != first || !again.Done {
		t.Errorf("a repeat: %+v, first %+v", again, first)
	}
	f.want("k", "a")
	f.Delete(keys("k"))
	f.set("k", "z")
	if again := f.set("k", "a", nx, requestID("1")); again != first {
		t.Errorf("a repeat after a change: %+v", again)
	}
	f.want("k", "z")
	if o := f.set("k", "b", nx, requestID("2")); o.Done {
		t.Error("another request is taken for the first")
	}
	f.Delete(keys("k"))
	if o := f.set("k", "b", nx, requestID("2")); o.Done {
		t.Error("the repeat of a refused write succeeds")
	}
	if o := f.set("other", "b", nx, requestID("1")); !o.Done {
		t.Error("the id is known under another key")
	}
	f.now += requestLifetime - 1
	if again := f.set("k", "a", nx, requestID("1")); again != first {
		t.Errorf("a repeat just before the end: %+v", again)
	}
	f.now++
	if o := f.set("k", "a", nx, requestID("1")); o == first || !o.Done {
		t.Errorf("a repeat after the end: %+v", o)
	}
}

// A shard knows at most maxRequests requests, the newest ones, and forgets none that is young: rather it refuses a write.
func TestRequestLogIsBounded(t *testing.T) {
	f := newFixture(t)
	l := &f.requests
	for i := range 3 * maxRequests {
		request := requestOf([]byte("k"), fmt.Sprint(i))
		f.now = 1_000_000 + int64(i)/3 // a third of them is older than requestMinimum
		l.remember(answer{request, Outcome{true, Version{epoch, uint64(i)}}}, f.now)
		if n, m := len(l.index), len(l.queue); n > maxRequests || m > 2*maxRequests+1 {
			t.Fatalf("after %d requests %d are known, the queue has %d", i, n, m)
		}
	}
	for i, want := range map[int]bool{3*maxRequests - 1: true, 2 * maxRequests: true, 2*maxRequests - 1: false} {
		if _, found := l.find(requestOf([]byte("k"), fmt.Sprint(i)), f.now); found != want {
			t.Errorf("request %d is known: %v", i, found)
		}
	}
	oldest := l.index[l.queue[l.head]].at
	for age, want := range map[int64]error{requestMinimum - 1: ErrBusy, requestMinimum: nil} {
		f.now = oldest + age
		_, _, err := f.Shard.Set(Write{Key: []byte("k"), Value: f.value("v"), RequestID: fmt.Sprint("at", age)})
		if !errors.Is(err, want) {
			t.Errorf("a new request when the oldest is %d ms old: %v", age, err)
		}
		if again := f.set("k", "v"); !again.Done {
			t.Error("a write without a request id is refused")
		}
	}
	f.now = 1_000_000 + maxRequests + requestLifetime
	f.set("k", "a", requestID("x"))
	if n, m := len(l.index), len(l.queue); n != 1 || m != 1 {
		t.Errorf("after a minute %d are known, the queue has %d", n, m)
	}
}

// Readers see all writes of a SetAll or none.
func TestSetAllIsAtomic(t *testing.T) {
	f := newFixture(t)
	names := keys("a", "b", "c")
	write := func(text string) {
		var writes []Write
		for _, key := range names {
			writes = append(writes, Write{Key: key, Value: f.value(text)})
		}
		f.SetAll(writes)
	}
	write("0")
	var group sync.WaitGroup
	group.Go(func() {
		for i := range 2000 {
			write(fmt.Sprint(i))
		}
	})
	for range 4 {
		group.Go(func() {
			for range 2000 {
				texts := map[string]bool{}
				for _, e := range f.GetAll(names, true) {
					texts[string(e.NPY())] = true
					e.Release()
				}
				if len(texts) != 1 {
					t.Errorf("a reader saw %v", texts)
				}
			}
		})
	}
	group.Wait()
}

// A reader keeps its bytes whatever happens to the key.
func TestReadersKeepTheirBytes(t *testing.T) {
	f := newFixture(t)
	f.set("k", "first")
	e := f.Get([]byte("k"), true)
	f.set("k", "second")
	f.Delete(keys("k"))
	f.Flush()
	if got := string(e.NPY()); got != "first" {
		t.Errorf("the reader has %q", got)
	}
	e.Release()
}

func TestDeleteAndExistsCountAsRedisDoes(t *testing.T) {
	f := newFixture(t)
	f.set("a", "1")
	f.set("b", "2")
	if n := f.Exists(keys("a", "a", "b", "none"), false); n != 3 {
		t.Errorf("Exists counts %d", n)
	}
	if n := f.Delete(keys("a", "a", "none", "b")); n != 2 {
		t.Errorf("Delete counts %d", n)
	}
}

// Random operations behave as on a plain map, and every value is released exactly once.
func TestShardIsAMap(t *testing.T) {
	type stored struct {
		text    string
		at      int64
		version Version
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t)
	model := map[string]stored{}
	live := func(key string) (stored, bool) {
		s, found := model[key]
		return s, found && (s.at == 0 || f.now < s.at)
	}
	for step := range 100_000 {
		key := fmt.Sprint("k", r.IntN(30))
		old, there := live(key)
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			text, w := fmt.Sprint("v", step), Write{Key: []byte(key), Condition: Condition(r.IntN(4))}
			w.Value = f.value(text)
			if w.Condition == IfVersion && r.IntN(2) == 0 {
				w.IfVersion = old.version
			}
			next := stored{text: text}
			switch r.IntN(3) {
			case 0:
				w.Expiry.At = f.now + r.Int64N(50) - 5
				next.at = w.Expiry.At
			case 1:
				w.Expiry.Keep = true
				if there {
					next.at = old.at
				}
			}
			want := w.Condition == Always || w.Condition == IfMissing && !there || w.Condition == IfPresent && there ||
				w.Condition == IfVersion && there && w.IfVersion == old.version
			o := f.Set(w)
			if o.Done != want {
				t.Fatalf("step %d: Set of %s with condition %d: %v, want %v", step, key, w.Condition, o.Done, want)
			}
			if o.Done {
				next.version = o.Version
				model[key] = next
			}
		case 4:
			if got := f.Delete(keys(key)); got != boolInt(there) {
				t.Fatalf("step %d: Delete of %s: %d", step, key, got)
			}
			delete(model, key)
		case 5:
			deadline := f.now + r.Int64N(50) - 5
			if got := f.Expire([]byte(key), deadline, ExpireCondition{}); got != there {
				t.Fatalf("step %d: Expire of %s: %v", step, key, got)
			}
			if there {
				old.at = deadline
				model[key] = old
			}
		case 6:
			if got := f.Persist([]byte(key)); got != (there && old.at != 0) {
				t.Fatalf("step %d: Persist of %s: %v", step, key, got)
			}
			if there {
				old.at = 0
				model[key] = old
			}
		case 7:
			f.now += r.Int64N(5)
		case 8:
			RemoveExpired(f.Shard, r.IntN(4))
		case 9:
			want := ""
			if there {
				want = old.text
			}
			if got := f.get(key); got != want {
				t.Fatalf("step %d: %s is %q, want %q", step, key, got, want)
			}
		}
		if n := f.pool.Buffers(); n != int64(f.index.table.count) {
			t.Fatalf("step %d: %d buffers are held for %d entries", step, n, f.index.table.count)
		}
	}
}
