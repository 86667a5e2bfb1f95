package shard

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// taken returns what a feed holds, as "key" or "key by 7", with "?" for keys of a shard that is not served, and "*" for the rest.
func taken(f *Feed) string {
	changes, rest := f.Take(nil)
	var texts []string
	for _, c := range changes {
		text := c.Key
		if c.By != 0 {
			text += fmt.Sprint(" by ", c.By)
		}
		if !c.Served {
			text += "?"
		}
		texts = append(texts, text)
	}
	if rest {
		texts = append(texts, "*")
	}
	return strings.Join(texts, ", ")
}

func TestFeed(t *testing.T) {
	f := newFixture(t)
	feed := f.store.Feed()
	write := func(key string, by int64) Write { return Write{Key: []byte(key), Value: f.value("v"), By: by} }
	want := func(what, want string) {
		t.Helper()
		if got := taken(feed); got != want {
			t.Errorf("%s: the feed has %q, want %q", what, got, want)
		}
	}
	f.Set(write("a", 0))
	want("before Start", "")
	feed.Start()
	f.Set(write("a", 7))
	f.SetAll([]Write{write("b", 8), write("c", 8)})
	f.Set(Write{Key: []byte("a"), Value: f.value("v"), Condition: IfMissing})
	want("writes", "a by 7, b by 8, c by 8")
	select {
	case <-feed.Added():
	default:
		t.Error("the feed does not say that it has something")
	}
	must(t, 0, settle(f.Update(true, func(tx *Tx) {
		tx.By = 9
		tx.Delete([][]byte{[]byte("a"), []byte("missing")})
		tx.Expire([]byte("b"), f.now+10, ExpireCondition{})
	})))
	must(t, 0, settle(f.Update(true, func(tx *Tx) { tx.Persist([]byte("b")) })))
	want("a transaction, and the next one", "a by 9, b by 9, b")
	f.Set(Write{Key: []byte("d"), Value: f.value("v"), Expiry: Expiry{At: f.now + 10}})
	f.now += 10
	want("a deadline that has passed", "d")
	RemoveExpired(f.Shard, 10)
	want("what has expired", "d")
	f.Flush()
	want("all keys", "*")
	f.Role().Close()
	want("the shard is closed", "*")
	f.Role().Close()
	want("and once more", "")
	must(t, 0, f.Role().Open(epoch+1, 0))
	want("the shard is opened", "*")
	f.Set(write("a", 0))
	must(t, 0, f.Role().Open(epoch+2, epoch+2))
	if got := taken(feed); !strings.HasSuffix(got, "*") {
		t.Errorf("the shard begins empty: the feed has %q", got)
	}
	feed.Stop()
	f.Set(write("a", 0))
	want("after Stop", "")
}

// What a command has read inside the gate may change elsewhere only once it has left, so the feed says so then.
func TestFeedOfAClosingShard(t *testing.T) {
	f := newFixture(t)
	feed := f.store.Feed()
	feed.Start()
	if !f.Acquire() {
		t.Fatal("the shard is closed")
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.Role().Close()
	}()
	for f.Serving() {
		runtime.Gosched()
	}
	if got := taken(feed); got != "" {
		t.Errorf("a command is inside, and the feed has %q", got)
	}
	if !f.gate.told.Load() {
		t.Error("a command is inside, and its changes would not be told")
	}
	f.Release()
	<-closed
	if got := taken(feed); got != "*" || f.gate.told.Load() {
		t.Errorf("the feed has %q, and later changes are told: %v", got, f.gate.told.Load())
	}
	must(t, 0, f.Role().Open(epoch+1, 0))
}

// A change that the log does not take is in the feed if the entry goes all the same.
func TestFeedOfWhatIsForgotten(t *testing.T) {
	f := newFixture(t)
	f.Set(Write{Key: []byte("a"), Value: f.value("v")})
	f.store.Feed().Start()
	f.index.mu.Lock()
	f.index.forget([]byte("a"))
	f.index.mu.Unlock()
	if got := taken(f.store.Feed()); got != "a" {
		t.Errorf("the feed has %q", got)
	}
}

// What a feed holds is bounded: beyond it any key may have changed, until it is taken.
func TestFeedIsBounded(t *testing.T) {
	for _, test := range []struct{ length, count int }{{5, maxFeed}, {1 << 16, maxFeedBytes >> 16}} {
		f := Feed{added: make(chan struct{}, 1)}
		f.Start()
		key := []byte(strings.Repeat("k", test.length))
		for range test.count {
			f.changed(key, 0, true)
		}
		changes, rest := f.Take(nil)
		if len(changes) != test.count || rest {
			t.Fatalf("%d changes, %v", len(changes), rest)
		}
		for range test.count + 2 {
			f.changed(key, 0, true)
		}
		changes, rest = f.Take(changes[:0])
		if len(changes) != 0 || !rest {
			t.Errorf("beyond the bound: %d changes, %v", len(changes), rest)
		}
		f.changed([]byte("a"), 0, true)
		changes, rest = f.Take(nil)
		if !slices.Equal(changes, []KeyChange{{"a", 0, true}}) || rest {
			t.Errorf("after that: %v, %v", changes, rest)
		}
	}
}
