package main

import (
	"math"
	"math/rand/v2"
	"sort"
)

// A trace is the sequence of keys, by number, that a program requests. The size of a key never changes.
type trace struct {
	name     string
	about    string
	requests []uint32
	sizes    []int32 // of the .npy file, by key
	popular  int     // keys below this recur by popularity; those above belong to scans
}

// working is the size of all keys that may recur. Keys that a scan reads once do not justify more memory.
func (t *trace) working() int64 {
	var sum int64
	for _, size := range t.sizes[:t.popular] {
		sum += int64(size)
	}
	return sum
}

// bytes is the size of all replies together, the base of the byte hit ratio.
func (t *trace) bytes() int64 {
	var sum int64
	for _, key := range t.requests {
		sum += int64(t.sizes[key])
	}
	return sum
}

const (
	headerBytes = 128
	kib         = 1024
	skew        = 1.0 // Zipf exponent of all traces: the key of rank r occurs in proportion to 1/r
)

// traces makes all four traces, shortened by a factor for trial runs: their ratios are not
// comparable with those of full traces.
func traces(seed uint64, shorter int) []*trace {
	return []*trace{
		zipfTrace(seed, 200_000/shorter, 600_000/shorter),
		scanTrace(seed, 200_000/shorter, 600_000/shorter),
		mixedTrace(seed, 20_000/shorter, 150_000/shorter),
		shiftTrace(seed, 200_000/shorter, 600_000/shorter, 4),
	}
}

func zipfTrace(seed uint64, keys, requests int) *trace {
	rng := random(seed, 1)
	z := newZipf(rng, keys)
	t := &trace{name: "zipf", about: "Zipf, all keys 1 KiB", sizes: equal(keys), popular: keys}
	for range requests {
		t.requests = append(t.requests, z.next())
	}
	return t
}

// scanTrace alternates 7 parts of requests by popularity with 3 parts of a scan over keys that
// occur only there. It has ten scans, each about as long as the cache.
func scanTrace(seed uint64, keys, requests int) *trace {
	const scans = 10
	rng := random(seed, 2)
	z := newZipf(rng, keys)
	cold := requests * 3 / 10 / scans
	t := &trace{name: "scan", about: "Zipf, 30 % of the requests are scans of keys used once", sizes: equal(keys + scans*cold), popular: keys}
	next := uint32(keys)
	for range scans {
		for range requests/scans - cold {
			t.requests = append(t.requests, z.next())
		}
		for range cold {
			t.requests = append(t.requests, next)
			next++
		}
	}
	return t
}

// mixedTrace has sizes that are independent of popularity.
func mixedTrace(seed uint64, keys, requests int) *trace {
	rng := random(seed, 3)
	z := newZipf(rng, keys)
	t := &trace{name: "mixed", about: "Zipf, sizes log-uniform from 256 B to 256 KiB", popular: keys}
	for range keys {
		size := 256 * math.Exp(rng.Float64()*math.Log(1024))
		t.sizes = append(t.sizes, int32(size)&^3) // whole float32
	}
	for range requests {
		t.requests = append(t.requests, z.next())
	}
	return t
}

// shiftTrace gives the keys new ranks at the start of every phase: popular keys become unpopular.
func shiftTrace(seed uint64, keys, requests, phases int) *trace {
	rng := random(seed, 4)
	z := newZipf(rng, keys)
	t := &trace{name: "shift", about: "Zipf, the ranks reshuffled three times", sizes: equal(keys), popular: keys}
	for phase := range phases {
		if phase > 0 {
			z.shuffle()
		}
		for range requests / phases {
			t.requests = append(t.requests, z.next())
		}
	}
	return t
}

func equal(keys int) []int32 {
	sizes := make([]int32, keys)
	for i := range sizes {
		sizes[i] = kib
	}
	return sizes
}

// random gives each trace its own stream, so changing one trace does not change the others.
func random(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// A zipf draws keys. The one in math/rand/v2 requires an exponent above 1.
type zipf struct {
	rng    *rand.Rand
	sums   []float64
	byRank []uint32
}

func newZipf(rng *rand.Rand, keys int) *zipf {
	z := &zipf{rng: rng, sums: make([]float64, keys), byRank: make([]uint32, keys)}
	var sum float64
	for i := range keys {
		sum += math.Pow(float64(i+1), -skew)
		z.sums[i], z.byRank[i] = sum, uint32(i)
	}
	z.shuffle()
	return z
}

func (z *zipf) shuffle() {
	z.rng.Shuffle(len(z.byRank), func(i, j int) { z.byRank[i], z.byRank[j] = z.byRank[j], z.byRank[i] })
}

func (z *zipf) next() uint32 {
	at := sort.SearchFloat64s(z.sums, z.rng.Float64()*z.sums[len(z.sums)-1])
	return z.byRank[min(at, len(z.byRank)-1)]
}
