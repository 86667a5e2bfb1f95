package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/bench/clusters"
)

// request is one call of a client's method: with redirects and with what the client tries again by itself.
type request struct {
	key    string
	write  bool
	size   int
	at     time.Time // of the end
	took   time.Duration
	failed string // the error; empty: it succeeded
}

// traffic are clients that read and write until stop is called. A read that is not what was written fails the benchmark.
type traffic struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	requests []request
	wrong    []error
}

func newTraffic(ctx context.Context) *traffic {
	t := &traffic{}
	t.ctx, t.cancel = context.WithCancel(ctx)
	return t
}

func (t *traffic) stop() {
	t.cancel()
	t.group.Wait()
}

func (t *traffic) add(r request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = append(t.requests, r)
}

func (t *traffic) accuse(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, err)
}

// overlapping returns the requests of which any part was in an interval.
func (t *traffic) overlapping(from, to time.Time) (all []request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.requests {
		if !r.at.Before(from) && r.at.Add(-r.took).Before(to) {
			all = append(all, r)
		}
	}
	return all
}

// between returns the requests that ended in an interval.
func (t *traffic) between(from, to time.Time) (all []request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.requests {
		if !r.at.Before(from) && r.at.Before(to) {
			all = append(all, r)
		}
	}
	return all
}

// goRedis returns a client as a program would make it: with the defaults of go-redis.
func goRedis(c *clusters.Cluster) *redis.ClusterClient {
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr)
	}
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, Protocol: 2})
}

// run makes one client read or write registers in turn. With a pace, a request that the last one's late reply has delayed is counted from
// when it was due: otherwise a stall would delay many requests and count as one.
func (t *traffic) run(c redis.UniversalClient, registers []*register, write bool, pace time.Duration) {
	t.group.Go(func() {
		arrays := map[int][]byte{}
		if write {
			for _, r := range registers {
				if arrays[r.size] == nil {
					arrays[r.size] = template(r.size)
				}
			}
		}
		due := time.Now()
		for i := 0; t.ctx.Err() == nil; i++ {
			began := time.Now()
			if wait := due.Sub(began); wait > 0 {
				time.Sleep(wait)
				began = time.Now()
			} else if pace > 0 {
				began = due
			}
			due = due.Add(pace)
			r := registers[i%len(registers)]
			var err error
			if write {
				err = t.set(c, r, arrays[r.size])
			} else {
				err = t.get(c, r)
			}
			if t.ctx.Err() != nil {
				return
			}
			now := time.Now()
			done := request{key: r.key, write: write, size: r.size, at: now, took: now.Sub(began)}
			if err != nil {
				done.failed = err.Error()
			}
			t.add(done)
			if pace > 0 && now.Sub(due) > pace { // it does not catch up with a stall that it has counted
				due = now
			}
		}
	})
}

func (t *traffic) set(c redis.UniversalClient, r *register, array []byte) error {
	n := r.begin()
	number(array, n)
	err := c.Do(t.ctx, "NP.SET", r.key, array).Err()
	if err == nil {
		r.acknowledge(n)
	}
	return err
}

func (t *traffic) get(c redis.UniversalClient, r *register) error {
	acked, _ := r.span()
	n, err := read(t.ctx, c, r)
	if err == nil {
		if err := r.check(acked, n); err != nil {
			t.accuse(err)
		}
	}
	return err
}

// read returns the number that is stored, 0 for none.
func read(ctx context.Context, c redis.UniversalClient, r *register) (uint64, error) {
	text, err := c.Do(ctx, "NP.GET", r.key).Text()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return numberIn(text, r.size)
}

// registersOf makes registers.
func registersOf(prefix string, n int, sizes ...int) (all []*register) {
	for i := range n {
		for _, size := range sizes {
			all = append(all, &register{key: fmt.Sprintf("%s:%d:%d", prefix, size, i), size: size})
		}
	}
	return all
}

// fill writes all registers once.
func fill(ctx context.Context, c redis.UniversalClient, registers []*register) error {
	const writers = 4
	failures := make([]error, writers)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			t := &traffic{ctx: ctx}
			for i := w; i < len(registers) && failures[w] == nil; i += writers {
				failures[w] = t.set(c, registers[i], template(registers[i].size))
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// verify returns what is wrong with the registers after the clients have stopped.
func verify(ctx context.Context, c redis.UniversalClient, registers []*register) (wrong []error) {
	for _, r := range registers {
		acked, _ := r.span()
		n, err := read(ctx, c, r)
		if err == nil {
			err = r.check(acked, n)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("at the end: %w", err))
		}
	}
	return wrong
}

// took returns how long requests of a kind took that did not fail.
func took(all []request, is func(request) bool) (times []time.Duration) {
	for _, r := range all {
		if r.failed == "" && is(r) {
			times = append(times, r.took)
		}
	}
	return times
}

// failures returns the errors of requests, each with how often.
func failures(all []request) map[string]int {
	count := map[string]int{}
	for _, r := range all {
		if r.failed != "" {
			count[r.failed]++
		}
	}
	return count
}

// longest returns the longest write of each range of slots.
func longest(all []request, v *clusters.View, ranges []int) (times []time.Duration) {
	by := map[int]time.Duration{}
	for _, r := range all {
		if r.write && r.failed == "" && r.size == small {
			at := v.Range(clusters.Slot(r.key))
			by[at] = max(by[at], r.took)
		}
	}
	for _, i := range slices.Compact(slices.Sorted(slices.Values(ranges))) {
		if d, wrote := by[i]; wrote {
			times = append(times, d)
		}
	}
	return times
}
