package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// load is one kind of client load.
type load struct {
	Op          string // SET or GET
	Data        int    // bytes of array data
	Connections int
	Pipeline    int // commands sent before the first reply is read
	Keys        int
	TLS         bool
}

func (l load) String() string {
	s := fmt.Sprintf("%s %s, %d connection", l.Op, size(l.Data), l.Connections)
	if l.Connections != 1 {
		s += "s"
	}
	if l.Pipeline > 1 {
		s += fmt.Sprintf(", pipelines of %d", l.Pipeline)
	}
	if l.TLS {
		s += ", TLS"
	}
	return s
}

func size(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// sample is the result of one run of a load.
type sample struct {
	Ops       float64 // per second
	MB        float64 // per second, of .npy files; 10^6 bytes
	P50, P99  float64 // µs, per reply or pipeline
	CPUPerGB  float64 // seconds of server processor time per 10^9 bytes
	CPUPerMop float64 // per million operations
}

// each calls do for n connections concurrently and returns all errors.
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

// fill stores all keys of an array on four connections.
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

// run loads a server for about the given time, after warming up for an eighth of it.
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
	return l.measure(clients, a, long, p.cpu)
}

// measure makes clients send the load for about the given time, after warming up. The processor time is
// that of the servers.
func (l load) measure(clients []*client, a *array, long time.Duration, cpuTime func() time.Duration) (sample, error) {
	if _, err := l.phase(clients, long/8); err != nil {
		return sample{}, err
	}
	from, before := time.Now(), cpuTime()
	times, err := l.phase(clients, long)
	if err != nil {
		return sample{}, err
	}
	to := time.Now()
	cpu := cpuTime() - before
	slices.Sort(times)
	at := func(part float64) float64 {
		return float64(times[int(part*float64(len(times)-1))].Nanoseconds()) / 1000
	}
	ops, seconds := float64(len(times)*l.Pipeline), to.Sub(from).Seconds()
	bytes := ops * float64(len(a.file))
	return sample{
		Ops: ops / seconds, MB: bytes / 1e6 / seconds, P50: at(0.5), P99: at(0.99),
		CPUPerGB: cpu.Seconds() / (bytes / 1e9), CPUPerMop: cpu.Seconds() / (ops / 1e6),
	}, nil
}

// phase makes every client send pipelines for the given time, and returns the duration of each pipeline.
func (l load) phase(clients []*client, long time.Duration) ([]time.Duration, error) {
	times, errs := make([][]time.Duration, len(clients)), make([]error, len(clients))
	end := time.Now().Add(long)
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() { times[i], errs[i] = l.pipelines(c, end) })
	}
	group.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

// pipelines sends at least one pipeline of random keys, and more until a point in time.
func (l load) pipelines(c *client, end time.Time) (times []time.Duration, err error) {
	send := c.gets
	if l.Op == "SET" {
		send = c.sets
	}
	keys := make([]int, l.Pipeline)
	for first := true; first || time.Now().Before(end); first = false {
		for i := range keys {
			keys[i] = c.pick()
		}
		began := time.Now()
		if err := send(keys); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}
