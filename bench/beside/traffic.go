package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/bench/clusters"
	"github.com/ndring/ndring/bench/latency"
)

// traffic are clients that read and write small arrays until stop is called.
type traffic struct {
	cluster *clusters.Cluster
	keys    []string
	value   []byte
	pace    time.Duration // from one request of a client to its next; 0: each follows the reply

	clients []*worker
	halted  atomic.Bool
	group   sync.WaitGroup
}

// worker is one client. It reads or writes.
type worker struct {
	writes bool
	first  int // where in the keys it begins

	mu   sync.Mutex // guards done
	done []request
}

type request struct {
	at     time.Time // of the reply
	took   time.Duration
	failed string // the reason; empty: it succeeded
}

const requestLimit = 3 * time.Second // go-redis' default

// fill writes all keys once.
func (t *traffic) fill() error {
	c := newClient(t.cluster, requestLimit)
	defer c.close()
	for _, key := range t.keys {
		if err := c.set(key, t.value); err != nil {
			return fmt.Errorf("SET %s: %w", key, err)
		}
	}
	return nil
}

func (t *traffic) start(readers, writers int) {
	for i := range readers + writers {
		w := &worker{writes: i >= readers, first: i * len(t.keys) / (readers + writers)}
		t.clients = append(t.clients, w)
		t.group.Go(func() { t.run(w) })
	}
}

// stop makes the clients end, and returns when they have.
func (t *traffic) stop() {
	t.halted.Store(true)
	t.group.Wait()
}

// run sends one request after the other. With a pace, a request that the last one's late reply has delayed is
// counted from when it was due: otherwise a stall would delay many requests and count as one.
func (t *traffic) run(w *worker) {
	c := newClient(t.cluster, requestLimit)
	defer c.close()
	due := time.Now()
	for i := w.first; !t.halted.Load(); i++ {
		began := time.Now()
		if wait := due.Sub(began); wait > 0 {
			time.Sleep(wait)
			began = time.Now()
		} else if t.pace > 0 {
			began = due
		}
		due = due.Add(t.pace)
		key := t.keys[i%len(t.keys)]
		var err error
		if w.writes {
			err = c.set(key, t.value)
		} else {
			err = c.get(key)
		}
		now := time.Now()
		r := request{at: now, took: now.Sub(began)}
		if err != nil {
			r.failed = reason(err)
		}
		w.mu.Lock()
		w.done = append(w.done, r)
		w.mu.Unlock()
	}
}

// sample is the traffic of an interval.
type sample struct {
	gets, sets []time.Duration
	failed     map[string]int // by reason
	long       time.Duration  // the interval
}

// since returns the traffic since a time, and forgets all.
func (t *traffic) since(began time.Time) *sample {
	s := &sample{failed: map[string]int{}, long: time.Since(began)}
	for _, w := range t.clients {
		w.mu.Lock()
		done := w.done
		w.done = nil
		w.mu.Unlock()
		for _, r := range done {
			switch {
			case r.at.Before(began):
			case r.failed != "":
				s.failed[r.failed]++
			case w.writes:
				s.sets = append(s.sets, r.took)
			default:
				s.gets = append(s.gets, r.took)
			}
		}
	}
	return s
}

// rate returns the successful writes a second.
func (s *sample) rate() float64 { return float64(len(s.sets)) / s.long.Seconds() }

func (s *sample) failures() (n int) {
	for _, count := range s.failed {
		n += count
	}
	return n
}

func (s *sample) requests() int { return len(s.gets) + len(s.sets) + s.failures() }

// reasons returns why requests failed, as text for a remark.
func (s *sample) reasons() string {
	var all []string
	for _, word := range slices.Sorted(maps.Keys(s.failed)) {
		all = append(all, fmt.Sprintf("%s %d", word, s.failed[word]))
	}
	return strings.Join(all, ", ")
}

// cells returns p50, p99 and the maximum as cells of a table.
func cells(values []time.Duration) string {
	return fmt.Sprintf("%s | %s | %s", latency.Format(latency.Quantile(values, 0.5)), latency.Format(latency.Quantile(values, 0.99)), latency.Format(latency.Quantile(values, 1)))
}
