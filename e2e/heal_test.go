//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/loadtest"
)

// bulk is arrays that are made again to be compared, so they need no memory of the test's.
type bulk struct {
	seed  uint64
	count int
}

const bulkSize = 1 << 20

func (bulk) key(i int) string     { return fmt.Sprint("bulk ", i) }
func (b bulk) value(i int) string { return loadtest.Array(b.seed+uint64(i), bulkSize-i%1000) }
func (b bulk) megabytes() float64 { return float64(b.count) * bulkSize / 1e6 }

// wantedBytes returns how much data the node that is lost, and the others, have.
func wantedBytes(t *testing.T) int64 {
	text := os.Getenv("NDRING_E2E_BYTES")
	if text == "" {
		return 64 << 20
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("NDRING_E2E_BYTES: %v", err)
	}
	return n
}

// each does something with all arrays, some at a time.
func (b bulk) each(do func(i int) error) error {
	var group sync.WaitGroup
	failed := make([]error, 4)
	for w := range failed {
		group.Go(func() {
			for i := w; i < b.count && failed[w] == nil; i += len(failed) {
				failed[w] = do(i)
			}
		})
	}
	group.Wait()
	return errors.Join(failed...)
}

func (b bulk) store(ctx context.Context, client *redis.ClusterClient) error {
	return b.each(func(i int) error { return client.Do(ctx, "NP.SET", b.key(i), b.value(i)).Err() })
}

func (b bulk) served(ctx context.Context, client *redis.ClusterClient) error {
	return b.each(func(i int) error {
		got, err := client.Do(ctx, "NP.GET", b.key(i)).Text()
		if err == nil && got != b.value(i) {
			err = errors.New("it differs from what was stored")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", b.key(i), err)
		}
		return nil
	})
}

// settingsFor returns settings with which four nodes have room for two copies, if that is not so by default.
func settingsFor(bytes int64) map[string]string {
	need := 2 * bytes / (nodes - 1) * 5 / 4 // keys are not spread evenly
	if need < 600<<20 {
		return nil
	}
	need += 100 << 20
	return map[string]string{"NDRING_MAXMEMORY": fmt.Sprint(need), "NDRING_MEM_LIMIT": fmt.Sprint(need * 3 / 2)}
}

// healed is how far a cluster is after it has lost a node.
type healed struct {
	served, began, whole time.Duration // until live nodes served all shards, the first copy was on its way, all shards had two clean copies
}

// copies returns how many shards have no live primary, fewer than two clean copies on live nodes, copies that are on their way or will
// be, and copies that a node has, by its name.
func (p *topology) copies() (unserved, single, moving int, of map[string]int) {
	names, up := p.names()
	of = map[string]int{}
	for _, s := range p.Shards {
		live := 0
		for _, id := range s.clean() {
			of[names[id]]++
			if up[id] {
				live++
			}
		}
		if !up[s.Primary] {
			unserved++
		}
		if live < 2 {
			single++
		}
		if len(s.Learners) > 0 || slices.ContainsFunc(s.Assigned, func(id string) bool { return !slices.Contains(s.InSync, id) }) || len(s.InSync) != len(s.Assigned) {
			moving++
		}
	}
	return unserved, single, moving, of
}

// catchesUp reports whether a live node makes a copy.
func (p *topology) catchesUp() bool {
	_, up := p.names()
	return slices.ContainsFunc(p.Shards, func(s row) bool { return slices.ContainsFunc(s.Learners, func(id string) bool { return up[id] }) })
}

// awaitHealed waits until all shards have two clean copies on live nodes, and no other copy is to be made, as a node sees it. Done is an
// additional condition.
func (c *cluster) awaitHealed(t *testing.T, since time.Time, limit time.Duration, node *redis.Client, done func(of map[string]int) bool) (h healed, of map[string]int) {
	t.Helper()
	for {
		p, err := c.topology(t.Context(), node)
		unserved, single, moving := -1, -1, -1
		if err == nil {
			unserved, single, moving, of = p.copies()
			past := time.Since(since)
			if unserved == 0 && single < len(p.Shards) && h.served == 0 {
				h.served = past
			}
			if h.began == 0 && p.catchesUp() {
				h.began = past
			}
			if unserved == 0 && single == 0 && moving == 0 && done(of) {
				h.whole = past
				return h, of
			}
		}
		if time.Since(since) > limit {
			t.Fatalf("after %v %d shards have no live primary, %d fewer than two clean copies, %d have copies to be made; copies by node: %v; %v", limit, unserved, single, moving, of, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// with does something with a new client: one that was idle while nodes died would begin with an old slot map.
func (c *cluster) with(t *testing.T, r *rand.Rand, do func(context.Context, *redis.ClusterClient) error) {
	t.Helper()
	client := c.client(r)
	defer client.Close()
	if err := do(t.Context(), client); err != nil {
		t.Error(err)
	}
}

// lose removes the container and the volume of a node.
func (c *cluster) lose(t *testing.T, node int) {
	t.Helper()
	c.docker(t, "rm", "-f", c.container(t, node))
	c.docker(t, "volume", "rm", c.project+"_"+name(node))
}

// A node is lost with its volume. Without a command, with the default settings, all shards have two clean copies again on the other
// nodes. Then it comes back with an empty volume, and gets its share again, also without a command. So does a node that comes back at once.
func TestLostVolume(t *testing.T) {
	bytes := wantedBytes(t)
	c, err := newCluster(project+"-heal", "docker-compose.yml", settingsFor(bytes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.saveLogs(t)
		}
		c.run(t, "scripts/e2e-clean", c.project)
	})
	r := chance(t)
	c.whole(t)
	limit := patience + time.Duration(bytes>>20)*200*time.Millisecond
	b := bulk{seed: r.Uint64(), count: int(bytes / bulkSize)}
	c.with(t, r, b.store)
	q := newRequests()
	l := &loadtest.Load{Client: q.client(c), Prefix: t.Name() + " ", Pause: 20 * time.Millisecond}
	stop := startLoad(t, l, r)

	lost := 1 + r.IntN(nodes)
	other := c.node(t, lost%nodes+1)
	before, err := c.topology(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, of := before.copies()
	had := of[name(lost)]
	share := b.megabytes() * float64(had) / float64(len(before.Shards))
	since := time.Now()
	c.lose(t, lost)
	h, of := c.awaitHealed(t, since, limit, other, func(of map[string]int) bool { return of[name(lost)] == 0 })
	t.Logf("%s was lost with %d copies of %d shards, about %.0f of %.0f MB: all shards served after %.1f s, first new copy under way after %.1f s, all shards with two clean copies after %.1f s: %.0f MB/s; copies: %v",
		name(lost), had, len(before.Shards), share, b.megabytes(), h.served.Seconds(), h.began.Seconds(), h.whole.Seconds(), share/(h.whole-h.began).Seconds(), of)
	c.with(t, r, b.served)

	since = time.Now()
	t.Log(c.run(t, "scripts/up"))
	fair := 2 * len(before.Shards) / nodes
	h, of = c.awaitHealed(t, since, limit, other, func(of map[string]int) bool { return of[name(lost)] >= fair })
	share = b.megabytes() * float64(of[name(lost)]) / float64(len(before.Shards))
	t.Logf("%s came back empty: its share of %.0f MB in sync after %.1f s: %.0f MB/s; copies: %v", name(lost), share, h.whole.Seconds(), share/h.whole.Seconds(), of)
	c.whole(t)

	next := lost%nodes + 1
	other = c.node(t, lost)
	since = time.Now()
	c.lose(t, next)
	c.run(t, "scripts/up")
	h, of = c.awaitHealed(t, since, limit, other, func(of map[string]int) bool { return of[name(next)] >= fair })
	t.Logf("%s was lost and came back empty at once: its share in sync after %.1f s; copies: %v", name(next), h.whole.Seconds(), of)
	c.whole(t)
	stop()
	c.with(t, r, func(ctx context.Context, client *redis.ClusterClient) error {
		return errors.Join(l.Verify(ctx, client)...)
	})
	c.with(t, r, b.served)
	t.Logf("%d requests succeeded, %d failed, of those that a client with default settings made meanwhile; longest write %v, read %v", q.done, len(q.failed),
		q.longest["np.set"].Round(time.Millisecond), q.longest["np.get"].Round(time.Millisecond))
	if n := len(q.failed); n > 0 {
		t.Logf("the first: %s", strings.Join(q.failed[:min(n, 3)], "; "))
	}
}
