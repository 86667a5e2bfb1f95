package main

import (
	"fmt"
	"io"
	"runtime"
	"sync"
)

// A contender is anything that can simulate a trace.
type contender struct {
	name string
	run  func(t *trace, capacity int64, cost func(uint32) int64, seed uint64) result
}

// second is how many requests make one second of Redis' clock in the simulator: about the rate of
// one pipelined connection.
const second = 100_000

// bySampling lists the sampled contenders. Each differs from its neighbour in one property, so the
// table can be read downwards.
func bySampling() []policy {
	lru := policy{score: byIdle, samples: 5, pool: 16}
	lfu := policy{score: byCounter, samples: 5, pool: 16, init: 5}
	hyperbolic := policy{score: byHyperbolic, samples: 16}
	sketch := policy{score: bySketch, samples: 16, tieIdle: true}
	with := func(p policy, name string, change func(*policy)) policy {
		p.name = name
		change(&p)
		return p
	}
	list := []policy{
		with(lru, "lru: Redis (5 samples, pool 16, clock 1 s)", func(p *policy) { p.resolution = second }),
		with(lru, "lru 5+16, clock 0.1 s", func(p *policy) { p.resolution = second / 10 }),
		with(lru, "lru 5+16, clock 1 ms", func(p *policy) { p.resolution = second / 1000 }),
		with(lru, "lru 5+16, exact clock", func(*policy) {}),
		with(lru, "lru 5+16, exact clock, used candidates dropped from the pool", func(p *policy) { p.rescore = true }),
	}
	for _, samples := range []int{5, 8, 10, 16, 32, 64} {
		list = append(list, with(lru, fmt.Sprintf("lru %d, no pool", samples), func(p *policy) { p.samples, p.pool = samples, 0 }))
	}
	for _, samples := range []int{10, 16} {
		list = append(list, with(lru, fmt.Sprintf("lru %d+16, dropped", samples), func(p *policy) { p.samples, p.rescore = samples, true }))
	}
	for _, alpha := range []float64{0.25, 0.5, 1} {
		list = append(list, with(lru, fmt.Sprintf("lru 16, size^%g", alpha), func(p *policy) { p.samples, p.pool, p.alpha = 16, 0, alpha }))
	}
	for _, unhit := range []float64{2, 4, 8, 16, 32} {
		list = append(list, with(lru, fmt.Sprintf("lru 16, idle x%g if never hit", unhit), func(p *policy) { p.samples, p.pool, p.unhit = 16, 0, unhit }))
	}
	list = append(list,
		with(lru, "lru 16, never hit x8, size^0.5", func(p *policy) { p.samples, p.pool, p.unhit, p.alpha = 16, 0, 8, 0.5 }),
		with(lfu, "lfu: Redis (5 samples, pool 16, init 5, no decay)", func(*policy) {}),
		with(lfu, "lfu 5+16, ties by idle", func(p *policy) { p.tieIdle = true }),
		with(lfu, "lfu 5+16, ties, dropped", func(p *policy) { p.tieIdle, p.rescore = true, true }),
	)
	for _, samples := range []int{5, 10, 16, 32} {
		list = append(list, with(lfu, fmt.Sprintf("lfu %d, no pool, ties", samples), func(p *policy) { p.samples, p.pool, p.tieIdle = samples, 0, true }))
	}
	for _, start := range []int{1, 10} {
		list = append(list, with(lfu, fmt.Sprintf("lfu 16, ties, init %d", start), func(p *policy) { p.samples, p.pool, p.tieIdle, p.init = 16, 0, true, start }))
	}
	for _, decay := range []int{10_000, 25_000, 50_000, 100_000, 200_000} {
		list = append(list, with(lfu, fmt.Sprintf("lfu 16, ties, decay every %dk requests", decay/1000), func(p *policy) {
			p.samples, p.pool, p.tieIdle, p.decay = 16, 0, true, decay
		}))
	}
	for _, alpha := range []float64{0.25, 0.5, 1} {
		list = append(list,
			with(lfu, fmt.Sprintf("lfu 16, ties, counter/size^%g", alpha), func(p *policy) { p.samples, p.pool, p.tieIdle, p.alpha = 16, 0, true, alpha }),
			with(lfu, fmt.Sprintf("lfu 16, ties, hits/size^%g", alpha), func(p *policy) {
				p.samples, p.pool, p.tieIdle, p.alpha, p.estimate = 16, 0, true, alpha, true
			}))
	}
	list = append(list,
		with(lfu, "lfu 16, ties, remembers", func(p *policy) { p.samples, p.pool, p.tieIdle, p.remember = 16, 0, true, true }),
		with(lfu, "lfu 16, ties, remembers, decay every 50k", func(p *policy) {
			p.samples, p.pool, p.tieIdle, p.remember, p.decay = 16, 0, true, true, 50_000
		}),
		with(lfu, "lfu 16, ties, remembers, decay every 50k, hits/size^0.5", func(p *policy) {
			p.samples, p.pool, p.tieIdle, p.remember, p.decay, p.estimate, p.alpha = 16, 0, true, true, 50_000, true, 0.5
		}),
	)
	perHit := policy{score: byIdlePerHit, samples: 16, init: 5}
	for _, beta := range []float64{0.5, 1, 1.5, 2} {
		list = append(list, with(perHit, fmt.Sprintf("idle/hits^%g 16", beta), func(p *policy) { p.beta = beta }))
	}
	for _, alpha := range []float64{0.1, 0.25, 0.5} {
		list = append(list, with(perHit, fmt.Sprintf("idle/hits 16, size^%g", alpha), func(p *policy) { p.beta, p.alpha = 1, alpha }))
	}
	list = append(list,
		with(perHit, "idle/hits 16, remembers", func(p *policy) { p.beta, p.remember = 1, true }),
		with(perHit, "idle/hits 16, remembers, size^0.25", func(p *policy) { p.beta, p.remember, p.alpha = 1, true, 0.25 }),
		with(perHit, "idle/hits 8, size^0.25", func(p *policy) { p.beta, p.samples, p.alpha = 1, 8, 0.25 }),
		with(perHit, "idle/hits 5+16, size^0.25", func(p *policy) { p.beta, p.samples, p.pool, p.alpha = 1, 5, 16, 0.25 }),
		with(lfu, "lfu 5+16, ties, hits/size^0.1", func(p *policy) { p.tieIdle, p.estimate, p.alpha = true, true, 0.1 }),
		with(lfu, "lfu 5+16, ties, hits/size^0.25", func(p *policy) { p.tieIdle, p.estimate, p.alpha = true, true, 0.25 }),
		with(lfu, "lfu 16, ties, hits/size^0.1", func(p *policy) { p.samples, p.pool, p.tieIdle, p.estimate, p.alpha = 16, 0, true, true, 0.1 }),
		with(lfu, "lfu 16, ties, hits/size^0.1, remembers", func(p *policy) {
			p.samples, p.pool, p.tieIdle, p.estimate, p.alpha, p.remember = 16, 0, true, true, 0.1, true
		}),
		with(lfu, "lfu 16, ties, hits/size^0.25, remembers", func(p *policy) {
			p.samples, p.pool, p.tieIdle, p.estimate, p.alpha, p.remember = 16, 0, true, true, 0.25, true
		}),
		with(lru, "lru 16, never hit x2, size^0.1", func(p *policy) { p.samples, p.pool, p.unhit, p.alpha = 16, 0, 2, 0.1 }),
		with(lru, "lru 5+16, never hit x2", func(p *policy) { p.unhit = 2 }),
		with(lru, "lru 16, never hit x2, size^0.25", func(p *policy) { p.samples, p.pool, p.unhit, p.alpha = 16, 0, 2, 0.25 }),
		with(lru, "lru 10, never hit x2, size^0.25", func(p *policy) { p.samples, p.pool, p.unhit, p.alpha = 10, 0, 2, 0.25 }),
		with(lru, "lru 5+16, dropped, never hit x2, size^0.25", func(p *policy) { p.rescore, p.unhit, p.alpha = true, 2, 0.25 }),
		with(lru, "lru 16, never hit x4, size^0.25", func(p *policy) { p.samples, p.pool, p.unhit, p.alpha = 16, 0, 4, 0.25 }),
		with(lfu, "lfu 16, ties, hits/size^0.05", func(p *policy) { p.samples, p.pool, p.tieIdle, p.estimate, p.alpha = 16, 0, true, true, 0.05 }),
		with(lfu, "lfu 10, ties, hits/size^0.1", func(p *policy) { p.samples, p.pool, p.tieIdle, p.estimate, p.alpha = 10, 0, true, true, 0.1 }),
		with(lfu, "lfu 16, ties, hits/size^0.1, remembers, decay every 200k", func(p *policy) {
			p.samples, p.pool, p.tieIdle, p.estimate, p.alpha, p.remember, p.decay = 16, 0, true, true, 0.1, true, 200_000
		}),
		with(lru, "lru 16, size^0.1", func(p *policy) { p.samples, p.pool, p.alpha = 16, 0, 0.1 }),
		with(sketch, "sketch 16, size^0.1, halved every 20 requests per key", func(p *policy) { p.alpha, p.sketchAge = 0.1, 20 }),
	)
	for _, alpha := range []float64{0, 0.25, 0.5, 1} {
		list = append(list, with(hyperbolic, fmt.Sprintf("hyperbolic 16, size^%g", alpha), func(p *policy) { p.alpha = alpha }))
	}
	for _, alpha := range []float64{0, 0.25, 0.5, 1} {
		list = append(list, with(sketch, fmt.Sprintf("sketch 16, size^%g", alpha), func(p *policy) { p.alpha = alpha }))
	}
	return append(list,
		with(sketch, "sketch 5", func(p *policy) { p.samples = 5 }),
		with(sketch, "sketch 16, halved every 5 requests per key", func(p *policy) { p.sketchAge = 5 }),
		with(sketch, "sketch 16, halved every 20 requests per key", func(p *policy) { p.sketchAge = 20 }),
	)
}

func contenders() []contender {
	list := []contender{
		{"exact LRU", func(t *trace, m int64, cost func(uint32) int64, _ uint64) result { return exactLRU(t, m, cost) }},
		{"exact LFU (counts only while cached)", func(t *trace, m int64, cost func(uint32) int64, _ uint64) result { return exactLFU(t, m, cost) }},
		{"W-TinyLFU (otter)", func(t *trace, m int64, cost func(uint32) int64, _ uint64) result { return wTinyLFU(t, m, cost) }},
	}
	for _, p := range bySampling() {
		list = append(list, contender{p.name, func(t *trace, m int64, cost func(uint32) int64, seed uint64) result {
			return simulate(t, p, m, cost, seed)
		}})
	}
	return list
}

// simTable writes the object and byte hit ratios of all contenders, averaged over the seeds.
func simTable(out io.Writer, seeds []uint64, shorter int) {
	var sets [][]*trace
	for _, seed := range seeds {
		sets = append(sets, traces(seed, shorter))
	}
	list := contenders()
	sums := make([][][2]float64, len(list))
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i, c := range list {
		sums[i] = make([][2]float64, len(sets[0]))
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for s, set := range sets {
				for j, t := range set {
					r := c.run(t, t.working()/10, paperCost(t), seeds[s])
					sums[i][j][0] += 100 * float64(r.hits) / float64(len(t.requests)) / float64(len(seeds))
					sums[i][j][1] += 100 * float64(r.hitBytes) / float64(t.bytes()) / float64(len(seeds))
				}
			}
		})
	}
	wait.Wait()
	fmt.Fprintf(out, "Object hit ratio / byte hit ratio in percent, means over the seeds %v; on the traces of 1 KiB keys the two are the same.\n\n", seeds)
	fmt.Fprint(out, "| policy |")
	for _, t := range sets[0] {
		fmt.Fprintf(out, " %s |", t.name)
	}
	fmt.Fprintln(out, "\n| --- | ---: | ---: | ---: | ---: |")
	for i, c := range list {
		fmt.Fprintf(out, "| %s |", c.name)
		for j := range sums[i] {
			if sets[0][j].name == "mixed" {
				fmt.Fprintf(out, " %.1f / %.1f |", sums[i][j][0], sums[i][j][1])
			} else {
				fmt.Fprintf(out, " %.1f |", sums[i][j][0])
			}
		}
		fmt.Fprintln(out)
	}
}

// paperOverhead is the simulated overhead of an entry beyond its .npy file and its key: two machine
// words each for the index slot, the key header, the value header and the fields of the policy.
const paperOverhead = 64

func paperCost(t *trace) func(uint32) int64 {
	return func(key uint32) int64 { return int64(t.sizes[key]) + keyBytes + paperOverhead }
}
