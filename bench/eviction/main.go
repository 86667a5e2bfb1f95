// Eviction compares hit ratios: of ndring and redis-server on the same traces with the same memory,
// and of simulated policies.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	leastLimit = 4 << 20 // bytes; a server's own memory use varies by about a MiB
	keyBytes   = 9       // "k" and 8 digits
	share      = 0.1     // of the bytes of all keys requested by popularity: the memory limit
)

func main() {
	binary := flag.String("binary", "../bin/ndring", "the ndring program")
	seeds := flag.Uint64("seeds", 3, "number of seeds, starting with 1")
	quick := flag.Bool("quick", false, "traces a tenth as long")
	smoke := flag.Bool("smoke", false, "traces a fiftieth as long and one seed, in seconds, to check that it works; the figures mean nothing")
	sim := flag.Bool("sim", false, "simulate many policies instead of running servers")
	out := flag.String("out", "", "also write the table to this file")
	flag.Parse()
	shorter := 1
	switch {
	case *smoke:
		*seeds, shorter = 1, 50
	case *quick:
		shorter = 10
	}
	var all []uint64
	for seed := range *seeds {
		all = append(all, seed+1)
	}
	if *sim {
		simTable(os.Stdout, all, shorter)
		return
	}
	var table strings.Builder
	if err := compare(&table, *binary, all, shorter); err != nil {
		fmt.Fprintln(os.Stderr, "eviction:", err)
		os.Exit(1)
	}
	fmt.Print(table.String())
	if *out != "" {
		if err := os.WriteFile(*out, []byte(table.String()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "eviction:", err)
			os.Exit(1)
		}
	}
}

// ratios are hit ratios in percent, one per seed.
type ratios struct{ objects, bytes []float64 }

func (r *ratios) add(t *trace, hits, hitBytes int64) {
	r.objects = append(r.objects, 100*float64(hits)/float64(len(t.requests)))
	r.bytes = append(r.bytes, 100*float64(hitBytes)/float64(t.bytes()))
}

func spread(values []float64) string {
	low, high, sum := values[0], values[0], 0.0
	for _, v := range values {
		low, high, sum = min(low, v), max(high, v), sum+v
	}
	return fmt.Sprintf("%.1f (%.1f to %.1f)", sum/float64(len(values)), low, high)
}

// compare writes the table of all traces.
func compare(w io.Writer, binary string, seeds []uint64, shorter int) error {
	fmt.Fprintf(w, "# Hit ratios in the same memory\n\n`eviction %s`, seeds 1 to %d: mean (minimum to maximum), in percent of the requests and of their bytes.\n\n",
		strings.Join(os.Args[1:], " "), len(seeds))
	fmt.Fprintf(w, "`maxmemory` of both servers is a tenth of the bytes of the keys that recur, plus the memory of the empty server after some work. In the simulated caches a key costs the bytes of its value and name, plus %d.\n\n", paperOverhead)
	fmt.Fprintf(w, "| trace | cache | requests | bytes | keys at the end |\n| --- | --- | ---: | ---: | ---: |\n")
	names := []string{"zipf", "scan", "mixed", "shift"}
	for i := range names {
		var order []string
		found := map[string]*ratios{}
		keys := map[string]int{}
		note := func(name string, t *trace, r result) {
			if found[name] == nil {
				found[name] = &ratios{}
				order = append(order, name)
			}
			found[name].add(t, r.hits, r.hitBytes)
			keys[name] = r.keys
		}
		for _, seed := range seeds {
			t := traces(seed, shorter)[i]
			limit := max(int64(share*float64(t.working())), leastLimit)
			for _, policy := range []string{"allkeys-lru", "allkeys-lfu"} {
				for _, server := range servers(binary) {
					fmt.Fprintf(os.Stderr, "%s, seed %d: %s %s\n", t.name, seed, server.name, policy)
					r, err := server.run(t, limit, policy)
					if err != nil {
						return fmt.Errorf("%s: %w", server.name, err)
					}
					note(server.name+" "+policy, t, r)
				}
			}
			cost := paperCost(t)
			note("simulated: exact LRU", t, exactLRU(t, limit, cost))
			note("simulated: exact LFU", t, exactLFU(t, limit, cost))
			note("simulated: W-TinyLFU (otter)", t, wTinyLFU(t, limit, cost))
		}
		for _, name := range order {
			fmt.Fprintf(w, "| %s | %s | %s | %s | %d |\n", names[i], name, spread(found[name].objects), spread(found[name].bytes), keys[name])
		}
	}
	return nil
}
