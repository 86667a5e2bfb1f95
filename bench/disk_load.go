package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// stalls compares what a client sees while a snapshot is written.
func (b *diskBench) stalls() error {
	b.say("\n## BGSAVE of %s under load\n", size(int(b.live)))
	b.say("p99 of GETs of 1 KiB in µs on 4 connections, while another connection overwrites arrays of 64 KiB; the process' memory at its peak during BGSAVE by that before.\n")
	b.say("| server | p99 without | p99 during | ratio | longest | memory | BGSAVE took |")
	b.say("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	for range b.rounds {
		for _, name := range []string{"ndring", "redis, no log"} {
			if err := b.stall(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *diskBench) stall(name string) error {
	s, err := b.fresh(name)
	if err != nil {
		return err
	}
	defer b.discard(s)
	small, large := newArray(1<<10, 100_000/b.fewer), newArray(64<<10, int(b.live)/(64<<10))
	if err := errors.Join(s.process.fill(small), s.process.fill(large)); err != nil {
		return err
	}
	c, err := s.dial(small)
	if err != nil {
		return err
	}
	defer c.Close()
	var saving, stop atomic.Bool
	var peak, before atomic.Int64
	var mu sync.Mutex
	var group sync.WaitGroup
	times := map[bool][]time.Duration{}
	errs := make([]error, 6)
	for w := range 4 {
		group.Go(func() {
			errs[w] = s.each(1, small, func(_ int, c *client) error {
				mine := map[bool][]time.Duration{}
				for i := w; !stop.Load(); i += 7919 {
					during, began := saving.Load(), time.Now()
					if err := c.gets([]int{i % small.keys}); err != nil {
						return err
					}
					mine[during] = append(mine[during], time.Since(began))
				}
				mu.Lock()
				defer mu.Unlock()
				for during, t := range mine {
					times[during] = append(times[during], t...)
				}
				return nil
			})
		})
	}
	group.Go(func() {
		errs[4] = s.each(1, large, func(_ int, c *client) error {
			for i := 0; !stop.Load(); i += 7919 {
				if err := c.sets([]int{i % large.keys}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	group.Go(func() {
		for !stop.Load() {
			at := &before
			if saving.Load() {
				at = &peak
			}
			at.Store(max(at.Load(), s.residentWithChildren()))
			time.Sleep(20 * time.Millisecond)
		}
	})
	time.Sleep(b.long)
	saving.Store(true)
	began := time.Now()
	_, err = c.ask("BGSAVE")
	for err == nil {
		var busy int64
		if busy, err = c.info("rdb_bgsave_in_progress"); err == nil && busy == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(began)
	saving.Store(false)
	stop.Store(true)
	group.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	for _, t := range times {
		slices.Sort(t)
	}
	p99 := func(during bool) float64 {
		t := times[during]
		if len(t) == 0 { // too short for one answer
			return 0
		}
		return float64(t[int(0.99*float64(len(t)-1))].Nanoseconds()) / 1000
	}
	var longest time.Duration
	if during := times[true]; len(during) > 0 {
		longest = during[len(during)-1]
	}
	b.say("| %s | %.0f | %.0f | **%.2f** | %v | **%.2f** | %.2f s |", name, p99(false), p99(true), p99(true)/p99(false), longest.Round(10*time.Microsecond),
		float64(peak.Load())/float64(before.Load()), took.Seconds())
	return nil
}

// residentWithChildren counts each page of the process and of those it has forked once.
func (p *process) residentWithChildren() (n int64) {
	pids := []int{p.cmd.Process.Pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	for _, t := range tasks {
		text, _ := os.ReadFile(t)
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for _, line := range strings.Split(string(text), "\n") {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				n += kb << 10
			}
		}
	}
	return n
}

// space overwrites each key 20 times and looks at the folder meanwhile.
func (b *diskBench) space() error {
	b.say("\n## Disk while each key is overwritten 20 times\n")
	b.say("The largest size of the data folder, looked at every 10 ms, by the bytes of the values. At most 3 times and 512 MiB are allowed.\n")
	b.say("| array | live MiB | largest MiB | allowed MiB | by live | writes that waited | MB/s |")
	b.say("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, data := range []int{1 << 10, 256 << 10, 4 << 20} {
		a := newArray(data, int(b.live)/data)
		s, err := b.fresh("ndring")
		if err != nil {
			return err
		}
		var stop atomic.Bool
		largest := int64(0)
		var group sync.WaitGroup
		group.Go(func() {
			for !stop.Load() {
				largest = max(largest, folderBytes(s.dir))
				time.Sleep(10 * time.Millisecond)
			}
		})
		began := time.Now()
		for range 21 {
			if err = s.process.fill(a); err != nil {
				break
			}
		}
		took := time.Since(began)
		stop.Store(true)
		group.Wait()
		if err != nil {
			return err
		}
		c, err := s.dial(a)
		if err != nil {
			return err
		}
		waited, err := c.info("disk_throttled_writes")
		c.Close()
		if err != nil {
			return err
		}
		live := int64(a.keys) * int64(len(a.file))
		b.say("| %s | %d | %d | %d | **%.2f** | %d | %.0f |", size(data), live>>20, largest>>20, (3*live+512<<20)>>20, float64(largest)/float64(live), waited,
			21*float64(live)/1e6/took.Seconds())
		b.discard(s)
	}
	return nil
}
