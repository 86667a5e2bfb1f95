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

// stalls compares client latency while a snapshot is written.
func (b *diskBench) stalls() error {
	b.say("\n## BGSAVE of %s under load\n", size(int(b.live)))
	b.say("p99 of 1 KiB GETs in µs on 4 connections, while another connection overwrites arrays of 64 KiB. Memory is the peak of the process during BGSAVE divided by its peak before.\n")
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

// stallLoad uses a server while it saves: four clients read small arrays, one overwrites large ones.
type stallLoad struct {
	server       *diskServer
	small, large *array

	saving, stop atomic.Bool
	peak, before atomic.Int64 // resident bytes while the server saves, and before

	mu    sync.Mutex // guards times
	times map[bool][]time.Duration
}

func (b *diskBench) stall(name string) error {
	s, err := b.fresh(name)
	if err != nil {
		return err
	}
	defer b.discard(s)
	l := &stallLoad{server: s, small: newArray(1<<10, 100_000/b.fewer), large: newArray(64<<10, int(b.live)/(64<<10)), times: map[bool][]time.Duration{}}
	if err := errors.Join(s.process.fill(l.small), s.process.fill(l.large)); err != nil {
		return err
	}
	took, err := l.run(b.long)
	if err != nil {
		return err
	}
	for _, t := range l.times {
		slices.Sort(t)
	}
	var longest time.Duration
	if during := l.times[true]; len(during) > 0 {
		longest = during[len(during)-1]
	}
	b.say("| %s | %.0f | %.0f | **%.2f** | %v | **%.2f** | %.2f s |", name, l.p99(false), l.p99(true), l.p99(true)/l.p99(false), longest.Round(10*time.Microsecond),
		float64(l.peak.Load())/float64(l.before.Load()), took.Seconds())
	return nil
}

// run starts the load, waits, and makes the server save. It returns the duration of the save.
func (l *stallLoad) run(quiet time.Duration) (took time.Duration, err error) {
	c, err := l.server.dial(l.small)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var group sync.WaitGroup
	errs := make([]error, 5)
	for i := range 4 {
		group.Go(func() { errs[i] = l.server.each(1, l.small, func(_ int, c *client) error { return l.read(c, i) }) })
	}
	group.Go(func() { errs[4] = l.server.each(1, l.large, func(_ int, c *client) error { return l.write(c) }) })
	group.Go(l.watchMemory)
	time.Sleep(quiet)
	l.saving.Store(true)
	began := time.Now()
	err = save(c)
	took = time.Since(began)
	l.saving.Store(false)
	l.stop.Store(true)
	group.Wait()
	return took, errors.Join(append(errs, err)...)
}

// save runs BGSAVE and returns when it has ended.
func save(c *client) error {
	if _, err := c.ask("BGSAVE"); err != nil {
		return err
	}
	for {
		if busy, err := c.info("rdb_bgsave_in_progress"); err != nil || busy == 0 {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (l *stallLoad) read(c *client, from int) error {
	mine := map[bool][]time.Duration{}
	for i := from; !l.stop.Load(); i += 7919 {
		during, began := l.saving.Load(), time.Now()
		if err := c.gets([]int{i % l.small.keys}); err != nil {
			return err
		}
		mine[during] = append(mine[during], time.Since(began))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for during, t := range mine {
		l.times[during] = append(l.times[during], t...)
	}
	return nil
}

func (l *stallLoad) write(c *client) error {
	for i := 0; !l.stop.Load(); i += 7919 {
		if err := c.sets([]int{i % l.large.keys}); err != nil {
			return err
		}
	}
	return nil
}

func (l *stallLoad) watchMemory() {
	for !l.stop.Load() {
		at := &l.before
		if l.saving.Load() {
			at = &l.peak
		}
		at.Store(max(at.Load(), l.server.residentWithChildren()))
		time.Sleep(20 * time.Millisecond)
	}
}

// p99 is in microseconds, or 0 if the run was too short for a reply.
func (l *stallLoad) p99(during bool) float64 {
	t := l.times[during]
	if len(t) == 0 {
		return 0
	}
	return float64(t[int(0.99*float64(len(t)-1))].Nanoseconds()) / 1000
}

// residentWithChildren counts the pages of the process and its children, shared pages once.
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

// space overwrites each key 20 times and measures the folder meanwhile.
func (b *diskBench) space() error {
	b.say("\n## Disk while each key is overwritten 20 times\n")
	b.say("The largest size of the data folder, sampled every 10 ms, divided by the bytes of the values. The limit is 3 times these bytes plus 512 MiB.\n")
	b.say("| array | live MiB | largest MiB | limit MiB | largest / live | writes that waited | MB/s |")
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
