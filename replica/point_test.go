package replica

import (
	"math/rand/v2"
	"testing"
)

// randomLogs returns logs that grew as logs of copies do: each continues a prefix of another one in an epoch of its own.
func randomLogs(r *rand.Rand) [][]Point {
	logs := [][]Point{nil}
	for epoch := uint64(1); epoch < 8; epoch++ {
		from := logs[r.IntN(len(logs))]
		log := append([]Point(nil), from[:r.IntN(len(from)+1)]...)
		for range 1 + r.IntN(4) {
			log = append(log, Point{epoch, uint64(len(log)) + 1})
		}
		logs = append(logs, log, log[:r.IntN(len(log)+1)])
	}
	return logs
}

func tableOf(log []Point) (t EpochTable) {
	for _, p := range log {
		t = t.extend(p.Epoch, p.Seq)
	}
	return t
}

func TestCommonPointIsTheLongestSharedPrefix(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 7))
	for range 300 {
		logs := randomLogs(r)
		for _, a := range logs {
			for _, b := range logs {
				n := 0
				for n < min(len(a), len(b)) && a[n] == b[n] {
					n++
				}
				want := Point{}
				if n > 0 {
					want = a[n-1]
				}
				got, ok := CommonPoint(tableOf(a), uint64(len(a)), tableOf(b), uint64(len(b)))
				if !ok || got != want {
					t.Fatalf("seed %d: the common point of %v and %v is %v, %v, want %v", seed, a, b, got, ok, want)
				}
			}
		}
	}
}

// A snapshot removes the beginning of a table: what is found must still be shared, and a common
// record that both tables reach must be found.
func TestCommonPointBehindASnapshot(t *testing.T) {
	const seed = 2
	r := rand.New(rand.NewPCG(seed, 7))
	found, lost := 0, 0
	for range 300 {
		logs := randomLogs(r)
		for _, a := range logs {
			for _, b := range logs {
				c := New(Process{}, tableOf(a), uint64(len(a)), 0)
				c.Compacted(r.Uint64N(uint64(len(a)) + 1))
				got, ok := CommonPoint(c.Table(), uint64(len(a)), tableOf(b), uint64(len(b)))
				whole, _ := CommonPoint(tableOf(a), uint64(len(a)), tableOf(b), uint64(len(b)))
				reached := whole.Seq > 0 && len(c.Table()) > 0 && c.Table()[0].Seq <= whole.Seq
				switch {
				case ok && got != whole:
					t.Fatalf("seed %d: found %v, want %v", seed, got, whole)
				case !ok && reached:
					t.Fatalf("seed %d: %v is within the table %v, and was not found", seed, whole, c.Table())
				case ok:
					found++
				default:
					lost++
				}
			}
		}
	}
	if found == 0 || lost == 0 {
		t.Fatalf("found %d, lost %d: the test covers one case only", found, lost)
	}
}

func TestLess(t *testing.T) {
	for _, c := range []struct {
		p, q Point
		want bool
	}{
		{Point{1, 9}, Point{2, 1}, true}, {Point{2, 1}, Point{1, 9}, false}, {Point{2, 1}, Point{2, 2}, true}, {Point{2, 2}, Point{2, 2}, false},
	} {
		if c.p.Less(c.q) != c.want {
			t.Errorf("%v < %v is %v", c.p, c.q, !c.want)
		}
	}
}
