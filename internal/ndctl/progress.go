package ndctl

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// copyKey names a copy that is made.
type copyKey struct {
	shard int
	to    topology.NodeID
}

// copyFate is what became of a copy that CLUSTER MOVES does not list any more.
type copyFate int

const (
	copyOpen    copyFate = iota // it is not known to be over: the list may have been incomplete
	copyMade                    // the node has the copy
	copyDropped                 // the node should not get the copy any more
)

// copyProgress is one copy.
type copyProgress struct {
	bytes int64 // -1: unknown
	done  int64 // may be more than bytes: the copy grows while it is sent
	fate  copyFate
}

// rateWindow is how far the rate looks back.
const rateWindow = 15 * time.Second

// progress follows copies through successive answers to CLUSTER MOVES. It does no I/O and reads no clock.
type progress struct {
	copies map[copyKey]*copyProgress
	// transfers are the shards that get another primary, transfersLeft those of them that have not got it yet.
	transfers, transfersLeft int

	arrived int64    // bytes that were seen to arrive; it only grows
	samples []sample // of the last rateWindow, the oldest first

	moves   view.Moves // the last answer
	changed time.Time  // when anything was last seen to go on
}

// sample is what had arrived at a time.
type sample struct {
	at      time.Time
	arrived int64
}

// newProgress returns the progress of a plan that is carried out from now on. Without a plan it is the progress of what observe adds.
func newProgress(plan *view.Plan, now time.Time) *progress {
	p := &progress{copies: map[copyKey]*copyProgress{}, changed: now, samples: []sample{{at: now}}}
	if plan != nil {
		for _, m := range plan.Moves {
			p.copies[copyKey{m.Shard, m.To}] = &copyProgress{bytes: max(m.Bytes, -1)}
		}
		p.transfers, p.transfersLeft = plan.Transfers, plan.Transfers
	}
	return p
}

// add begins to follow moves that are not followed yet. What they have done so far does not count in the rate.
func (p *progress) add(moves []view.Move) {
	for _, m := range moves {
		k := copyKey{m.Shard, m.To}
		if c := p.copies[k]; c == nil || c.fate != copyOpen {
			p.copies[k] = &copyProgress{bytes: max(m.Bytes, -1), done: m.Done}
		}
	}
}

// observe takes an answer to CLUSTER MOVES. Fate says what became of a copy that it does not list.
func (p *progress) observe(now time.Time, answer *view.Moves, transfersLeft int, fate func(copyKey) copyFate) {
	before := p.state()
	listed := map[copyKey]bool{}
	for _, m := range answer.Moves {
		k := copyKey{m.Shard, m.To}
		listed[k] = true
		if c := p.copies[k]; c != nil && c.fate == copyOpen {
			p.arrived += c.update(m.Bytes, m.Done)
		}
	}
	for k, c := range p.copies {
		if listed[k] || c.fate != copyOpen {
			continue
		}
		if c.fate = fate(k); c.fate == copyMade {
			p.arrived += c.update(c.bytes, max(c.bytes, c.done))
		}
	}
	p.transfersLeft = max(0, transfersLeft)
	p.transfers = max(p.transfers, p.transfersLeft)
	p.moves = *answer
	if p.state() != before {
		p.changed = now
	}
	p.samples = append(p.samples, sample{now, p.arrived})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) >= rateWindow {
		p.samples = p.samples[1:]
	}
}

// update sets what is known of the copy and returns how many bytes have arrived since. A copy may begin again and may grow.
func (c *copyProgress) update(bytes, done int64) int64 {
	arrived := max(0, done-c.done)
	c.done = done
	if bytes >= 0 {
		c.bytes = bytes
	}
	return arrived
}

// state is what changes while anything goes on.
func (p *progress) state() [4]int64 {
	t := p.totals()
	return [4]int64{int64(t.made), int64(t.dropped), t.done, int64(p.transfersLeft)}
}

// over reports whether nothing is left to wait for.
func (p *progress) over() bool {
	t := p.totals()
	return t.made+t.dropped == t.copies && p.transfersLeft == 0
}

// totals are the sums of a progress.
type totals struct {
	copies, made, dropped    int
	transfers, transfersLeft int
	bytes, done              int64         // of the copies that are not dropped; one of unknown size counts with what is done
	unsized                  int           // open copies of unknown size
	rate                     float64       // bytes per second; negative: unknown
	left                     time.Duration // negative: unknown
}

func (p *progress) totals() totals {
	t := totals{copies: len(p.copies), transfers: p.transfers, transfersLeft: p.transfersLeft, rate: p.rate(), left: -1}
	for _, c := range p.copies {
		switch c.fate {
		case copyDropped:
			t.dropped++
			continue
		case copyMade:
			t.made++
		case copyOpen:
			if c.bytes < 0 {
				t.unsized++
			}
		}
		t.done += c.done
		t.bytes += max(c.bytes, c.done)
	}
	if rest := t.bytes - t.done; rest > 0 && t.unsized == 0 && t.rate > 0 {
		if seconds := math.Ceil(float64(rest) / t.rate); seconds < float64(math.MaxInt64/int64(time.Second)) {
			t.left = time.Duration(seconds) * time.Second
		}
	}
	return t
}

// rate returns the bytes per second of the last seconds, or -1 if it is not known yet.
func (p *progress) rate() float64 {
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return -1
	}
	return float64(last.arrived-first.arrived) / seconds
}

// share returns how much is done, from 0 to 1: of the bytes, or of the copies and primaries if no bytes are known.
func (t totals) share() float64 {
	switch all := t.copies - t.dropped + t.transfers; {
	case t.bytes > 0 && t.unsized == 0:
		return float64(t.done) / float64(t.bytes)
	case all > 0:
		return float64(t.made+t.transfers-t.transfersLeft) / float64(all)
	}
	return 1
}

const barWidth = 16

// line says how far the moves are.
func (t totals) line() string {
	var parts []string
	if t.copies > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s", t.made, copiesText(t.copies-t.dropped)))
		of := bytesText(t.bytes)
		if t.unsized > 0 {
			of = "an unknown size"
		}
		parts = append(parts, bytesText(t.done)+" of "+of)
	}
	if t.transfers > 0 {
		noun := "primaries"
		if t.transfers == 1 {
			noun = "primary"
		}
		parts = append(parts, fmt.Sprintf("%d of %d %s", t.transfers-t.transfersLeft, t.transfers, noun))
	}
	if t.rate >= 0 && t.copies > t.made+t.dropped {
		parts = append(parts, bytesText(int64(t.rate))+"/s")
	}
	if t.left >= 0 {
		parts = append(parts, view.Duration(t.left)+" left")
	}
	return strings.Join(parts, ", ")
}

// bar is the share as a bar.
func (t totals) bar() string {
	full := int(t.share() * barWidth)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
}

// blocked says what holds the moves up, or "" if one of them goes on.
func (p *progress) blocked() string {
	why := ""
	for _, m := range p.moves.Moves {
		switch {
		case m.State != view.MoveWaiting:
			return ""
		case why == "" && m.Waits != "":
			why = fmt.Sprintf("shard %d waits: %s", m.Shard, view.OneLine(m.Waits))
		}
	}
	if p.moves.Paused {
		return "moves are paused: ndctl moves resume"
	}
	return why
}
