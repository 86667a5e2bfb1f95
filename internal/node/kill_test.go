//go:build faults

package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/crc32c"
)

// stored is what a key must have: the CRC32C and length of its bytes; zero if it must not exist.
type stored struct {
	sum uint32
	n   int
}

func storedOf(npy string) stored {
	return stored{crc32c.Checksum([]byte(npy)), len(npy)}
}

// killWriter writes to its own keys, and knows which writes were acknowledged.
type killWriter struct {
	id     int
	r      *rand.Rand
	has    map[string]stored
	next   uint64
	acked  int
	doubt  map[string]stored // the result of the operation that got no reply
	during string            // its kind
}

func (w *killWriter) size() int {
	switch w.r.IntN(20) {
	case 0:
		return 1<<20 + w.r.IntN(2<<20)
	case 1, 2, 3, 4:
		return 20_000 + w.r.IntN(200_000)
	}
	return w.r.IntN(3000)
}

func (w *killWriter) value() (string, stored) {
	w.next++
	npy := npyOf(uint64(w.id)<<48|w.next, w.size())
	return npy, storedOf(npy)
}

// run writes until the node is gone or stop is set.
func (w *killWriter) run(ctx context.Context, c *redis.Client, total *atomic.Int64) error {
	for ctx.Err() == nil {
		key := fmt.Sprintf("{%d}w%d", w.r.IntN(6), w.id) + strconv.Itoa(w.r.IntN(10))
		w.doubt = map[string]stored{}
		var err error
		switch what := w.r.IntN(20); {
		case what < 4:
			w.during, w.doubt[key] = "delete", stored{}
			err = c.Do(ctx, "DEL", key).Err()
		case what < 7: // one slot
			w.during = "batch"
			args := []any{"NP.MSET"}
			for i := range 2 + w.r.IntN(5) {
				k := fmt.Sprintf("{%d}w%d%d", 6, w.id, i)
				npy, s := w.value()
				args, w.doubt[k] = append(args, k, npy), s
			}
			err = c.Do(ctx, args...).Err()
		case what < 9:
			w.during = "transaction"
			k1, k2 := fmt.Sprintf("{7}w%d1", w.id), fmt.Sprintf("{7}w%d2", w.id)
			npy, s := w.value()
			w.doubt[k1], w.doubt[k2] = s, stored{}
			_, err = c.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Do(ctx, "NP.SET", k1, npy)
				p.Do(ctx, "DEL", k2)
				return nil
			})
		default:
			npy, s := w.value()
			w.during, w.doubt[key] = "set", s
			if s.n >= 1<<20 {
				w.during = "blob"
			}
			err = c.Do(ctx, "NP.SET", key, npy).Err()
		}
		if err != nil {
			if redis.HasErrorPrefix(err, "BUSY") {
				continue
			}
			var text redis.Error
			if errors.As(err, &text) {
				return err // the node refused it
			}
			return nil // unknown
		}
		w.settle(w.doubt)
		w.doubt, w.during = nil, ""
		w.acked++
		total.Add(1)
	}
	return nil
}

func (w *killWriter) settle(changes map[string]stored) {
	for key, s := range changes {
		if s == (stored{}) {
			delete(w.has, key)
		} else {
			w.has[key] = s
		}
	}
}

// verify reads back all keys of the writer. The operation that got no reply must have happened completely or not at all.
func (w *killWriter) verify(ctx context.Context, c *redis.Client) error {
	keys := map[string]bool{}
	for key := range w.has {
		keys[key] = true
	}
	for key := range w.doubt {
		keys[key] = true
	}
	for g := range 6 { // and those that must not exist
		for i := range 10 {
			keys[fmt.Sprintf("{%d}w%d%d", g, w.id, i)] = true
		}
	}
	found := map[string]stored{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		got, err := c.Do(ctx, "NP.GET", key).Text()
		if err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("reading %s: %w", key, err)
		}
		if err == nil {
			found[key] = storedOf(got)
		}
	}
	after := maps.Clone(w.has)
	(&killWriter{has: after}).settle(w.doubt)
	switch {
	case maps.Equal(found, after):
		w.has = after
	case !maps.Equal(found, w.has):
		for key := range keys {
			if found[key] != w.has[key] && found[key] != after[key] {
				return fmt.Errorf("key %s has %v, acknowledged was %v, then asked for %s: %v", key, found[key], w.has[key], w.during, after[key])
			}
		}
		return fmt.Errorf("half of a %s was done", w.during)
	}
	w.doubt = nil
	return nil
}

// TestKill kills a real node with SIGKILL at random moments of a mixed load: every acknowledged write and delete
// survives.
func TestKill(t *testing.T) {
	quiet()
	runs, least := 60, 1000
	if text := os.Getenv("NDRING_KILLS"); text != "" {
		fmt.Sscan(text, &runs)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	writers := make([]*killWriter, 4)
	for i := range writers {
		writers[i] = &killWriter{id: i, r: rand.New(rand.NewPCG(seed, uint64(i+1))), has: map[string]stored{}}
	}
	phases := map[string]int{}
	acked := 0
	for run := range runs {
		p := startBuilt(t, "--dir", dir, "--shards", "16", "--appendfsync", []string{"everysec", "no", "always"}[run%3], "--node-id", "killed")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		c := redis.NewClient(&redis.Options{Addr: p.resp, MaxRetries: -1, ReadTimeout: time.Minute, DialTimeout: 10 * time.Second})
		for _, w := range writers {
			if err := w.verify(ctx, c); err != nil {
				t.Fatalf("seed %d, run %d: %v\n%s", seed, run, err, p.logged())
			}
		}
		if log := p.logged(); strings.Contains(log, "damage") {
			t.Fatalf("seed %d, run %d: kill -9 damages nothing:\n%s", seed, run, log)
		}
		var total atomic.Int64
		var group sync.WaitGroup
		failures := make([]error, len(writers))
		for i, w := range writers {
			group.Go(func() { failures[i] = w.run(ctx, c, &total) })
		}
		if run%2 == 0 { // the other runs write snapshots only when the folder grows
			group.Go(func() { saveAgainAndAgain(ctx, c) })
		}
		for total.Load() < int64(least) && ctx.Err() == nil && !p.hasExited() {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(r.Int64N(int64(30 * time.Millisecond))))
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.awaitExit(t)
		group.Wait()
		if err := errors.Join(failures...); err != nil || total.Load() < int64(least) {
			t.Fatalf("seed %d, run %d: %d writes were acknowledged: %v\n%s", seed, run, total.Load(), err, p.logged())
		}
		acked += int(total.Load())
		for _, w := range writers {
			if w.during != "" {
				phases[w.during]++
			}
		}
		for phase, hit := range diskPhases(t, dir) {
			phases[phase] += hit
		}
		c.Close()
		cancel()
	}
	t.Logf("%d kills, %d acknowledged writes, moments: %v", runs, acked, phases)
	for _, phase := range []string{"set", "delete", "batch", "transaction", "blob", "snapshot", "rotation"} {
		if phases[phase] == 0 {
			t.Errorf("no kill came during a %s", phase)
		}
	}
}

// saveAgainAndAgain requests snapshots until the node is gone.
func saveAgainAndAgain(ctx context.Context, c *redis.Client) {
	for ctx.Err() == nil {
		err := c.Do(ctx, "BGSAVE").Err()
		var text redis.Error
		if err != nil && !errors.As(err, &text) { // an error reply, such as one already in progress, is fine
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// diskPhases tells from the folder what the node was doing when it was killed.
func diskPhases(t *testing.T, dir string) map[string]int {
	t.Helper()
	phases := map[string]int{}
	temps, err := filepath.Glob(filepath.Join(dir, "shards", "*", "*.snap.tmp"))
	if err != nil {
		t.Fatal(err)
	}
	phases["snapshot"] = min(len(temps), 1)
	segments, err := filepath.Glob(filepath.Join(dir, "shards", "*", "seg-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	shards := map[string]int{}
	for _, s := range segments {
		if shards[filepath.Dir(s)]++; shards[filepath.Dir(s)] > 1 {
			phases["rotation"] = 1
		}
	}
	return phases
}
