package main

import (
	"slices"
	"testing"
)

func TestTracesAreSeeded(t *testing.T) {
	one, again, other := traces(1, 10), traces(1, 10), traces(2, 10)
	for i := range one {
		if !slices.Equal(one[i].requests, again[i].requests) || slices.Equal(one[i].requests, other[i].requests) {
			t.Errorf("%s does not follow its seed", one[i].name)
		}
		for _, key := range one[i].requests {
			if int(key) >= len(one[i].sizes) {
				t.Fatalf("%s asks for key %d of %d", one[i].name, key, len(one[i].sizes))
			}
		}
	}
}

// Invariants of simulations: more capacity means more hits, full capacity means one miss per key,
// and no policy exceeds its capacity.
func TestPaperPolicies(t *testing.T) {
	for _, tr := range traces(1, 10) {
		distinct := map[uint32]bool{}
		for _, key := range tr.requests {
			distinct[key] = true
		}
		cost := paperCost(tr)
		var all int64
		for key := range distinct {
			all += cost(key)
		}
		for name, run := range map[string]func(*trace, int64, func(uint32) int64) result{"LRU": exactLRU, "LFU": exactLFU} {
			if r := run(tr, all, cost); int(r.hits) != len(tr.requests)-len(distinct) || r.used != all {
				t.Errorf("%s %s: %d hits with room for all keys, want %d", tr.name, name, r.hits, len(tr.requests)-len(distinct))
			}
			small, large := run(tr, all/20, cost), run(tr, all/5, cost)
			if small.hits >= large.hits || small.used > all/20 || large.used > all/5 {
				t.Errorf("%s %s: %d hits in %d bytes, %d in %d", tr.name, name, small.hits, small.used, large.hits, large.used)
			}
		}
	}
}
