//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// topology is what these tests read of CLUSTER TOPOLOGY.
type topology struct {
	Index uint64
	Nodes []struct {
		ID, Name string
		Up       bool
	}
	Shards []row
}

type row struct {
	Primary  string
	InSync   []string `json:"in_sync"`
	Assigned []string
	Learners []string
	Unclean  []string
}

// clean returns the nodes with a copy in sync that lacks nothing.
func (s row) clean() []string {
	return slices.DeleteFunc(slices.Clone(s.InSync), func(id string) bool { return slices.Contains(s.Unclean, id) })
}

// names returns the names of the nodes by id, and which of them are up.
func (p *topology) names() (names map[string]string, up map[string]bool) {
	names, up = map[string]string{}, map[string]bool{}
	for _, n := range p.Nodes {
		names[n.ID], up[n.ID] = n.Name, n.Up
	}
	return names, up
}

// topology asks a node.
func (c *cluster) topology(ctx context.Context, node *redis.Client) (*topology, error) {
	text, err := node.Do(ctx, "CLUSTER", "TOPOLOGY").Text()
	if err != nil {
		return nil, err
	}
	p := &topology{}
	return p, json.Unmarshal([]byte(text), p)
}

// copyWatch follows the copies of all shards in the newest topology that any node tells.
type copyWatch struct {
	mu     sync.Mutex // guards all below
	index  uint64     // of the newest topology
	looks  int        // topologies seen
	alone  map[int]lonely
	behind map[string]*absence // by the name of the node that lacks copies
	wrong  []string            // rows without a primary or without a clean copy
	down   map[string]bool     // nodes that were seen to be down
	atOnce int                 // the most nodes that were down in the eyes of one node
}

// lonely is a shard with one clean copy.
type lonely struct {
	since time.Time
	of    string // the node that should have another one
}

// absence is what a node lacked.
type absence struct {
	shards, now int // shards that had one copy at some time; that have one now
	since       time.Time
	longest     time.Duration // of one shard
	total       time.Duration // in which any shard had one copy
}

// watchCopies asks all nodes again and again until stop is called.
func (c *cluster) watchCopies(t *testing.T) (w *copyWatch, stop func()) {
	t.Helper()
	w = &copyWatch{alone: map[int]lonely{}, behind: map[string]*absence{}, down: map[string]bool{}}
	ended := make(chan struct{})
	var group sync.WaitGroup
	for i := 1; i <= nodes; i++ {
		node := c.node(t, i)
		group.Go(func() {
			for {
				if p, err := c.topology(t.Context(), node); err == nil {
					w.see(p, time.Now())
				}
				select {
				case <-ended:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(ended)
		group.Wait()
	})
	t.Cleanup(stop)
	return w, stop
}

func (w *copyWatch) see(p *topology, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	names, up := p.names()
	down := 0
	for id, is := range up {
		if !is {
			w.down[names[id]] = true
			down++
		}
	}
	w.atOnce = max(w.atOnce, down)
	if p.Index <= w.index { // another node has told it, or a newer one
		return
	}
	w.index = p.Index
	for i, s := range p.Shards {
		clean := s.clean()
		if s.Primary == "" || len(clean) == 0 {
			w.wrong = append(w.wrong, fmt.Sprintf("at index %d shard %d has the primary %q and %d clean copies in sync: %+v", p.Index, i, names[s.Primary], len(clean), s))
		}
		l, was := w.alone[i]
		switch is := len(clean) <= 1; {
		case is && !was:
			var missing []string
			for _, id := range s.Assigned {
				if !slices.Contains(clean, id) {
					missing = append(missing, names[id])
				}
			}
			w.alone[i] = lonely{now, strings.Join(missing, "+")}
			w.began(w.alone[i].of, now)
		case was && !is:
			delete(w.alone, i)
			w.ended(l, now)
		}
	}
}

func (w *copyWatch) began(name string, now time.Time) {
	a := w.behind[name]
	if a == nil {
		a = &absence{}
		w.behind[name] = a
	}
	if a.now == 0 {
		a.since = now
	}
	a.shards++
	a.now++
}

func (w *copyWatch) ended(l lonely, now time.Time) {
	a := w.behind[l.of]
	a.now--
	a.longest = max(a.longest, now.Sub(l.since))
	if a.now == 0 {
		a.total += now.Sub(a.since)
	}
}

// report logs how long shards had one copy, and fails the test if one had none or no primary, or if nodes were down together.
func (w *copyWatch) report(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest, total time.Duration
	for _, n := range slices.Sorted(maps.Keys(w.behind)) {
		a := w.behind[n]
		t.Logf("without %s: shards with only one copy: %d times, one of them for at most %v, some for %v", n, a.shards, a.longest.Round(10*time.Millisecond), a.total.Round(10*time.Millisecond))
		longest, total = max(longest, a.longest), total+a.total
	}
	t.Logf("only one copy: one shard for at most %v, some shard for %v in total; %d topologies looked at", longest.Round(10*time.Millisecond), total.Round(10*time.Millisecond), w.looks)
	for _, text := range w.wrong[:min(len(w.wrong), 10)] {
		t.Error(text)
	}
	if len(w.alone) > 0 {
		t.Errorf("%d shards still have one copy at the end", len(w.alone))
	}
	if w.atOnce > 1 {
		t.Errorf("%d nodes were down at once", w.atOnce)
	}
	if len(w.down) != nodes {
		t.Errorf("seen to be down: %v, want all %d nodes", slices.Sorted(maps.Keys(w.down)), nodes)
	}
}
