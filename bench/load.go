package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// load is a way to use a server.
type load struct {
	Op          string // SET or GET
	Data        int    // bytes of an array's data
	Connections int
	Pipeline    int // commands that are sent before the first answer is read
	Keys        int
}

func (l load) String() string {
	s := fmt.Sprintf("%s %s, %d connection", l.Op, size(l.Data), l.Connections)
	if l.Connections != 1 {
		s += "s"
	}
	if l.Pipeline > 1 {
		s += fmt.Sprintf(", pipelines of %d", l.Pipeline)
	}
	return s
}

func size(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// sample is what one run of a load has shown.
type sample struct {
	Ops       float64 // a second
	MB        float64 // a second, of .npy bytes; 10^6 bytes
	P50, P99  float64 // µs, of one answer or of a pipeline's
	CPUPerGB  float64 // seconds of the server's processor time per 10^9 bytes
	CPUPerMop float64 // and per million operations
}

// each calls do for n connections at once and returns all errors.
func (p *process) each(n int, a *array, do func(worker int, c *client) error) error {
	var group sync.WaitGroup
	errs := make([]error, n)
	for w := range errs {
		group.Go(func() {
			c, err := p.dial(a)
			if err != nil {
				errs[w] = err
				return
			}
			defer c.Close()
			errs[w] = do(w, c)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// fill stores all keys of an array, on four connections.
func (p *process) fill(a *array) error {
	const workers = 4
	step := max(1, min(64, 1<<20/len(a.file)))
	return p.each(workers, a, func(w int, c *client) error {
		for i := w * step; i < a.keys; i += workers * step {
			var keys []int
			for k := i; k < min(i+step, a.keys); k++ {
				keys = append(keys, k)
			}
			if err := c.sets(keys); err != nil {
				return err
			}
		}
		return nil
	})
}

// run uses a server for about so long.
func (l load) run(p *process, a *array, long time.Duration) (sample, error) {
	clients := make([]*client, l.Connections)
	for i := range clients {
		c, err := p.dial(a)
		if err != nil {
			return sample{}, err
		}
		defer c.Close()
		clients[i] = c
	}
	var mu sync.Mutex
	var times []time.Duration
	var failed error
	var group sync.WaitGroup
	var from, to time.Time
	var before time.Duration
	measured := 0
	for phase, until := range []time.Duration{long / 8, long} { // the first one warms up
		if phase == 1 {
			from, before = time.Now(), p.cpu()
		}
		end := time.Now().Add(until)
		for _, c := range clients {
			group.Go(func() {
				keys := make([]int, l.Pipeline)
				var mine []time.Duration
				for first := true; first || time.Now().Before(end); first = false {
					for i := range keys {
						keys[i] = rand.IntN(a.keys)
					}
					began := time.Now()
					do := c.gets
					if l.Op == "SET" {
						do = c.sets
					}
					if err := do(keys); err != nil {
						mu.Lock()
						failed = err
						mu.Unlock()
						return
					}
					mine = append(mine, time.Since(began))
				}
				if phase == 1 {
					mu.Lock()
					defer mu.Unlock()
					times = append(times, mine...)
					measured += len(mine) * l.Pipeline
				}
			})
		}
		group.Wait()
		if failed != nil {
			return sample{}, failed
		}
	}
	to = time.Now()
	cpu := p.cpu() - before
	slices.Sort(times)
	at := func(part float64) float64 {
		return float64(times[int(part*float64(len(times)-1))].Nanoseconds()) / 1000
	}
	ops, seconds := float64(measured), to.Sub(from).Seconds()
	bytes := ops * float64(len(a.file))
	return sample{
		Ops: ops / seconds, MB: bytes / 1e6 / seconds, P50: at(0.5), P99: at(0.99),
		CPUPerGB: cpu.Seconds() / (bytes / 1e9), CPUPerMop: cpu.Seconds() / (ops / 1e6),
	}, nil
}
