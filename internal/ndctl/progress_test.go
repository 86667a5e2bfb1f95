package ndctl

import (
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/view"
)

// observation is what one answer to CLUSTER MOVES says, some seconds after the plan was carried out.
type observation struct {
	at    int
	moves []view.Move
	made  []int // shards whose copies are made; those that are neither made nor listed are dropped, if dropped is set
	drop  bool
	left  int // primaries that have not changed
}

func moving(shard int, bytes, done int64) view.Move {
	return view.Move{Shard: shard, State: view.MoveCopying, To: "cc", Bytes: bytes, Done: done}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	sized := func(bytes ...int64) *view.Plan {
		p := &view.Plan{}
		for i, n := range bytes {
			p.Moves = append(p.Moves, view.PlannedMove{Shard: i, To: "cc", Bytes: n})
		}
		return p
	}
	transfers := sized()
	transfers.Transfers = 3
	for _, tc := range []struct {
		what string
		plan *view.Plan
		seen []observation
		line string
		over bool
	}{
		{"nothing seen", sized(100*mib, 200*mib), nil, "0 of 2 copies, 0 B of 300.0 MiB", false},
		{"at a steady rate", sized(100*mib, 200*mib), []observation{{at: 10, moves: []view.Move{moving(0, 100*mib, 50*mib), moving(1, 200*mib, 0)}}},
			"0 of 2 copies, 50.0 MiB of 300.0 MiB, 5.0 MiB/s, 50s left", false},
		{"a move ends and vanishes", sized(100*mib, 200*mib), []observation{
			{at: 5, moves: []view.Move{moving(0, 100*mib, 50*mib), moving(1, 200*mib, 0)}}, {at: 10, moves: []view.Move{moving(1, 200*mib, 0)}, made: []int{0}},
		}, "1 of 2 copies, 100.0 MiB of 300.0 MiB, 10.0 MiB/s, 20s left", false},
		{"a move is never listed", sized(100*mib, 200*mib), []observation{{at: 10, moves: []view.Move{moving(1, 200*mib, 0)}, made: []int{0}}},
			"1 of 2 copies, 100.0 MiB of 300.0 MiB, 10.0 MiB/s, 20s left", false},
		{"nothing arrives", sized(100 * mib), []observation{{at: 10, moves: []view.Move{moving(0, 100*mib, 0)}}}, "0 of 1 copy, 0 B of 100.0 MiB, 0 B/s", false},
		{"an unknown size", sized(-1, 100*mib), []observation{{at: 10, moves: []view.Move{moving(0, -1, 30*mib), moving(1, 100*mib, 0)}}},
			"0 of 2 copies, 30.0 MiB of an unknown size, 3.0 MiB/s", false},
		{"an unknown size becomes known", sized(-1), []observation{{at: 5, moves: []view.Move{moving(0, -1, 0)}}, {at: 10, moves: []view.Move{moving(0, 60*mib, 30*mib)}}},
			"0 of 1 copy, 30.0 MiB of 60.0 MiB, 3.0 MiB/s, 10s left", false},
		{"an unknown size is made", sized(-1), []observation{{at: 5, moves: []view.Move{moving(0, -1, 30*mib)}}, {at: 10, made: []int{0}}}, "1 of 1 copy, 30.0 MiB of 30.0 MiB", true},
		{"a size grows", sized(100 * mib), []observation{{at: 10, moves: []view.Move{moving(0, 400*mib, 100*mib)}}}, "0 of 1 copy, 100.0 MiB of 400.0 MiB, 10.0 MiB/s, 30s left", false},
		{"more is sent than the copy had", sized(100 * mib), []observation{{at: 10, moves: []view.Move{moving(0, 100*mib, 150*mib)}}}, "0 of 1 copy, 150.0 MiB of 150.0 MiB, 15.0 MiB/s", false},
		{"a copy begins again", sized(100 * mib), []observation{
			{at: 5, moves: []view.Move{moving(0, 100*mib, 80*mib)}}, {at: 10, moves: []view.Move{moving(0, 100*mib, 20*mib)}},
		}, "0 of 1 copy, 20.0 MiB of 100.0 MiB, 8.0 MiB/s, 10s left", false},
		{"a silent node", sized(100 * mib), []observation{{at: 5, moves: []view.Move{moving(0, 100*mib, 80*mib)}}, {at: 10}}, "0 of 1 copy, 80.0 MiB of 100.0 MiB, 8.0 MiB/s, 3s left", false},
		{"a copy is dropped", sized(100*mib, 200*mib), []observation{{at: 5, moves: []view.Move{moving(0, 100*mib, 100*mib)}, made: []int{}, drop: true}, {at: 10, made: []int{0}}}, "1 of 1 copy, 100.0 MiB of 100.0 MiB", true},
		{"old bytes leave the rate", sized(900 * mib), []observation{
			{at: 1, moves: []view.Move{moving(0, 900*mib, 500*mib)}}, {at: 20, moves: []view.Move{moving(0, 900*mib, 500*mib)}}, {at: 30, moves: []view.Move{moving(0, 900*mib, 510*mib)}},
			{at: 35, moves: []view.Move{moving(0, 900*mib, 515*mib)}},
		}, "0 of 1 copy, 515.0 MiB of 900.0 MiB, 1.0 MiB/s, 6m25s left", false},
		{"two answers at one time", sized(100 * mib), []observation{{at: 0, moves: []view.Move{moving(0, 100*mib, 10*mib)}}}, "0 of 1 copy, 10.0 MiB of 100.0 MiB", false},
		{"an empty shard", sized(0), []observation{{at: 10, moves: []view.Move{moving(0, 0, 0)}}}, "0 of 1 copy, 0 B of 0 B, 0 B/s", false},
		{"moves of others", sized(100 * mib), []observation{{at: 10, moves: []view.Move{moving(7, 900*mib, 500*mib)}, made: []int{0}}}, "1 of 1 copy, 100.0 MiB of 100.0 MiB", true},
		{"primaries alone", transfers, []observation{{at: 1, left: 1}}, "2 of 3 primaries", false},
		{"more primaries than planned", transfers, []observation{{at: 1, left: 5}, {at: 2, left: 1}}, "4 of 5 primaries", false},
		{"all primaries", transfers, []observation{{at: 1, left: 0}}, "3 of 3 primaries", true},
		{"nothing to do", sized(), []observation{{at: 1}}, "", true},
	} {
		start := time.Unix(1000, 0)
		p := newProgress(tc.plan, start)
		for _, o := range tc.seen {
			p.observe(start.Add(time.Duration(o.at)*time.Second), &view.Moves{Moves: o.moves}, o.left, func(k copyKey) copyFate {
				for _, shard := range o.made {
					if shard == k.shard {
						return copyMade
					}
				}
				if o.drop {
					return copyDropped
				}
				return copyOpen
			})
		}
		if got := p.totals().line(); got != tc.line || p.over() != tc.over {
			t.Errorf("%s: %q, want %q; over: %v", tc.what, got, tc.line, p.over())
		}
	}
}

// Without a plan, a progress follows what it sees, and does not count what was done before.
func TestProgressOfWhatIsSeen(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	p := newProgress(nil, start)
	for i, moves := range [][]view.Move{
		{moving(0, 100*mib, 50*mib), moving(1, -1, 0)}, {moving(0, 100*mib, 60*mib)}, {moving(2, 40*mib, 0)}, {moving(2, 40*mib, 10*mib), moving(0, 100*mib, 10*mib)},
	} {
		p.observe(start.Add(time.Duration(i*10)*time.Second), &view.Moves{Moves: moves}, 0, func(copyKey) copyFate { return copyMade })
		p.add(moves)
	}
	// Copy 1 vanished. Copy 0 was made, which was 40 MiB more at 20 s, and begins again.
	if got := p.totals().line(); got != "1 of 3 copies, 20.0 MiB of 140.0 MiB, 2.5 MiB/s, 48s left" {
		t.Errorf("%q", got)
	}
}

// A wait without a limit ends when nothing has moved for a minute.
func TestEndOfAWait(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	for _, tc := range []struct {
		limit, changed, now time.Duration
		want                string
	}{
		{0, 0, 59 * time.Second, "<nil>"},
		{0, 0, time.Minute, "not finished, and nothing has moved for 1m0s"},
		{0, time.Hour, time.Hour + 59*time.Second, "<nil>"},
		{time.Hour, 0, time.Hour - 1, "<nil>"},
		{time.Hour, time.Hour, time.Hour, "not finished within 1h0m0s"},
	} {
		f := &waitFlags{limit: tc.limit}
		if got := fmt.Sprint(f.expired(start, start.Add(tc.changed), start.Add(tc.now))); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
	// What goes on is noticed, and what does not is not.
	p := newProgress(&view.Plan{Moves: []view.PlannedMove{{Shard: 0, To: "cc", Bytes: 100}}}, start)
	for _, step := range []struct {
		at, done int64
		changed  int64
	}{{1, 0, 0}, {2, 5, 2}, {3, 5, 2}, {4, 6, 4}} {
		p.observe(start.Add(time.Duration(step.at)*time.Second), &view.Moves{Moves: []view.Move{moving(0, 100, step.done)}}, 0, nil)
		if got := p.changed.Unix() - 1000; got != step.changed {
			t.Errorf("at %d s it changed last at %d s, want %d", step.at, got, step.changed)
		}
	}
}

// Without a terminal, a line of progress appears every few seconds, if it says something new.
func TestLinesOfProgress(t *testing.T) {
	t.Parallel()
	var out, bars lineCounter
	start := time.Unix(1000, 0)
	for _, json := range []bool{false, true} {
		d := newProgressDisplay(&printer{out: &out, err: &bars, json: json, env: lookup(nil)}, start)
		p := newProgress(&view.Plan{Moves: []view.PlannedMove{{Shard: 0, To: "cc", Bytes: 100}}}, start)
		for second := range 26 {
			now := start.Add(time.Duration(second) * time.Second)
			p.observe(now, &view.Moves{Moves: []view.Move{moving(0, 100, int64(min(second, 12)))}}, 0, nil)
			if second > 15 {
				p.samples = p.samples[len(p.samples)-1:] // no rate, so that the line stays the same
			}
			d.show(now, p)
		}
		d.clear()
		if out.lines != 4 || bars.lines != 0 {
			t.Errorf("%d lines and %d bars: %q", out.lines, bars.lines, out.text)
		}
	}
}

type lineCounter struct {
	lines int
	text  string
}

func (c *lineCounter) Write(b []byte) (int, error) {
	c.lines++
	c.text += string(b)
	return len(b), nil
}
