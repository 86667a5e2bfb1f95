package main

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// memoryUse is the memory of a server process per byte of the .npy files that it stores.
type memoryUse struct {
	Data, Keys          int
	Filled, Overwritten float64
	Peak                float64 // while overwriting
}

// measureMemory fills an empty server, then overwrites random keys on 8 connections for the given time.
func measureMemory(k kind, data, keys int, long time.Duration) (memoryUse, error) {
	p, err := k.start()
	if err != nil {
		return memoryUse{}, err
	}
	defer p.stop()
	a := newArray(data, keys)
	if err := p.fill(a); err != nil {
		return memoryUse{}, err
	}
	stored := float64(len(a.file)) * float64(keys)
	use := memoryUse{Data: data, Keys: keys, Filled: float64(p.resident()) / stored}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			use.Peak = max(use.Peak, float64(p.resident())/stored)
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	end := time.Now().Add(long)
	err = p.each(8, a, func(_ int, c *client) error {
		batch := make([]int, max(1, min(16, 64<<10/len(a.file))))
		for time.Now().Before(end) {
			for i := range batch {
				batch[i] = rand.IntN(keys)
			}
			if err := c.sets(batch); err != nil {
				return err
			}
		}
		return nil
	})
	use.Overwritten = float64(p.resident()) / stored
	close(stop)
	watch.Wait()
	return use, err
}

// largeUse is the effect of one large array on a node and its other clients.
type largeUse struct {
	In, Out         float64 // peak of extra memory during the transfer, per byte of the array; In includes the array itself
	IdleP99, During float64 // µs of small GETs by other clients, without and during the transfers
}

// measureLarge stores and fetches an array of the given size repeatedly, while four other clients
// GET small ones.
func measureLarge(k kind, bytes int, long time.Duration) (largeUse, error) {
	var use largeUse
	p, err := k.start()
	if err != nil {
		return use, err
	}
	defer p.stop()
	small, large := newArray(1<<10, 1000), newArray(bytes, 1)
	if err := p.fill(small); err != nil {
		return use, err
	}
	others := load{Op: "GET", Data: 1 << 10, Connections: 4, Pipeline: 1, Keys: small.keys}
	idle, err := others.run(p, small, long/2)
	if err != nil {
		return use, err
	}
	use.IdleP99 = idle.P99
	done := make(chan sample)
	go func() {
		s, err2 := others.run(p, small, long)
		err = errors.Join(err, err2)
		done <- s
	}()
	c, err2 := p.dial(large)
	if err2 != nil {
		return use, err2
	}
	defer c.Close()
	size := float64(len(large.file))
	end := time.Now().Add(long)
	for i := 0; i == 0 || time.Now().Before(end); i++ {
		before := p.resident()
		most, err := watched(p, func() error { return c.sets([]int{0}) })
		if err != nil {
			return use, err
		}
		use.In = max(use.In, float64(most-before)/size)
		before = p.resident()
		if most, err = watched(p, func() error { return c.gets([]int{0}) }); err != nil {
			return use, err
		}
		use.Out = max(use.Out, float64(most-before)/size)
	}
	use.During = (<-done).P99
	return use, err
}

// watched returns the peak memory of a server while do runs.
func watched(p *process, do func() error) (most int64, err error) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			most = max(most, p.resident())
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	err = do()
	close(stop)
	<-stopped
	return max(most, p.resident()), err
}
