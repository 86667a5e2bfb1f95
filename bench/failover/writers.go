package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/bench/clusters"
	"github.com/ndring/ndring/bench/npy"
)

const (
	retryPause = 10 * time.Millisecond
	patience   = 2 * time.Second // of a writer, for one attempt
)

// numbered returns an array that carries a number in its last eight bytes.
func numbered(n int) []byte {
	file := slices.Clone(template)
	binary.LittleEndian.PutUint64(file[len(file)-8:], uint64(n))
	return file
}

var template = npy.Float32(64)

// numberIn returns the number in an array, 0 for a missing one.
func numberIn(file string) (int, error) {
	switch len(file) {
	case 0:
		return 0, nil
	case len(template):
		return int(binary.LittleEndian.Uint64([]byte(file[len(file)-8:]))), nil
	}
	return 0, fmt.Errorf("read an array of %d bytes, want %d", len(file), len(template))
}

// writers write numbered arrays to a few keys each until stop is called.
type writers struct {
	mode    *mode
	cluster *clusters.Cluster
	retry   bool          // otherwise a writer ends at its first failure
	pause   time.Duration // between two writes of a writer

	all    []*writer
	halted atomic.Bool
	group  sync.WaitGroup
}

type writer struct {
	ledgers []*ledger
	failed  int // requests that failed, without redirects
	ackedAt time.Time
	longest time.Duration // between two acknowledgements, or between the last one and the end
	endless bool          // the longest one had not ended
	err     error         // the last failure
}

// start starts the writers, n of them, each with its part of the keys.
func (w *writers) start(n int, keys []string) {
	for part := range slices.Chunk(keys, (len(keys)+n-1)/n) {
		one := &writer{}
		for _, key := range part {
			one.ledgers = append(one.ledgers, &ledger{key: key})
		}
		w.all = append(w.all, one)
		w.group.Go(func() { w.run(one) })
	}
}

// stop makes the writers end, and returns when they have.
func (w *writers) stop() {
	w.halted.Store(true)
	w.group.Wait()
}

func (w *writers) run(one *writer) {
	c := newClient(w.cluster, w.mode.wait, patience)
	defer c.close()
	one.ackedAt = time.Now()
	defer func() {
		if gap := time.Since(one.ackedAt); w.halted.Load() && gap > one.longest {
			one.longest, one.endless = gap, true
		}
	}()
	for i := 0; !w.halted.Load(); i++ {
		l := one.ledgers[i%len(one.ledgers)]
		l.last++
		result, err := c.set(l.key, numbered(l.last))
		l.record(result)
		if result == acked {
			now := time.Now()
			one.longest, one.ackedAt = max(one.longest, now.Sub(one.ackedAt)), now
		}
		if err != nil {
			one.failed, one.err = one.failed+1, err
			if !w.retry {
				return
			}
			time.Sleep(retryPause)
		}
		time.Sleep(w.pause)
	}
}

// losses is what became of the acknowledged writes.
type losses struct{ acked, lost, doubtful int }

func (l *losses) add(o losses) {
	l.acked, l.lost, l.doubtful = l.acked+o.acked, l.lost+o.lost, l.doubtful+o.doubtful
}

// judge reads all keys and counts the acknowledged writes that are lost.
func (w *writers) judge() (sum losses, err error) {
	c := newClient(w.cluster, 0, patience)
	defer c.close()
	for _, one := range w.all {
		for _, l := range one.ledgers {
			text, err := c.read(l.key, readLimit)
			if err != nil {
				return sum, fmt.Errorf("the key %s cannot be read: %w", l.key, err)
			}
			n, err := numberIn(text)
			if err != nil {
				return sum, err
			}
			lost, doubtful := l.lost(n)
			sum.acked, sum.lost = sum.acked+len(l.acked), sum.lost+lost
			if doubtful {
				sum.doubtful++
			}
		}
	}
	return sum, nil
}

const readLimit = 10 * time.Second

// stall returns the longest time between two acknowledgements of one writer, whether it had not
// ended, and the number of failed requests of all.
func (w *writers) stall() (longest time.Duration, endless bool, failed int) {
	for _, one := range w.all {
		failed += one.failed
		if one.longest > longest {
			longest, endless = one.longest, one.endless
		}
	}
	return longest, endless, failed
}

// errs returns the last failure of each writer.
func (w *writers) errs() error {
	var all []error
	for _, one := range w.all {
		all = append(all, one.err)
	}
	return errors.Join(all...)
}
