package loadtest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// verdict is the result of a check.
type verdict int

const (
	right     verdict = iota
	wrong             // no order of the operations explains the replies
	undecided         // the check took too long
)

// judge checks a history that begins in a state.
func (m model) judge(start state, history []*operation, limit time.Duration) verdict {
	underWay(history)
	switch porcupine.CheckOperationsTimeout(m.porcupine(start), operations(history), limit) {
	case porcupine.Ok:
		return right
	case porcupine.Illegal:
		return wrong
	}
	return undecided
}

// mostUnderWay is longer than a write of unknown outcome can wait for its commit, which comes when the copies that are away are removed.
const mostUnderWay = int64(requestTime + 10*time.Second)

// underWay notes for each operation since when a write to its group has been under way, or a transaction that has found one of its keys. A
// node shows a key whose deadline has come for as long as an earlier write or transaction that may rest on it waits for a commit
// (docs/replication.md): a few milliseconds, or a second if a copy is away. A transaction that only reads, and waits for the commit of a
// write to another key, may have failed, and is not in the history then. So a write counts for all keys of its group.
func underWay(history []*operation) {
	for _, o := range history {
		o.since = o.call
		for _, w := range history {
			end := w.end
			if end == endless {
				end = w.call + mostUnderWay
			}
			if w != o && w.call < o.since && end >= o.call && (!w.reads() || w.rests() && w.keys()&o.keys() != 0) {
				o.since = w.call
			}
		}
	}
}

// operations returns a history as porcupine wants it. What has no end ends last.
func operations(history []*operation) []porcupine.Operation {
	last := int64(0)
	for _, o := range history {
		last = max(last, o.call)
		if o.end != endless {
			last = max(last, o.end)
		}
	}
	all := make([]porcupine.Operation, len(history))
	for i, o := range history {
		all[i] = porcupine.Operation{ClientId: o.client, Input: o, Call: o.call, Return: min(o.end, last+1)}
	}
	return all
}

// wrongRepeat returns an operation that was answered twice, and differently.
func wrongRepeat(history []*operation) *operation {
	for _, o := range history {
		if o.again != nil && *o.again != o.replies[0] {
			return o
		}
	}
	return nil
}

// check checks what is new in a group, and reports whether all of it is right.
func (h *Histories) check(g *group) bool {
	start, tail, history, changed := g.look()
	if !changed {
		return true
	}
	m := h.model()
	if o := wrongRepeat(history); o != nil {
		h.violation(Violation{Group: g.tag, Excerpt: "a request was answered twice, and differently:\n" + excerpt(m, start, tail, history, o)})
		return false
	}
	switch m.judge(start, history, h.CheckTimeout) {
	case undecided:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.report.Undecided = append(h.report.Undecided, fmt.Sprintf("%s, %d operations, %d with an unknown outcome", g.tag, len(history), unknowns(history)))
		return false
	case wrong:
		short, culprit := m.shorten(start, history)
		v := Violation{Group: g.tag, Excerpt: excerpt(m, start, tail, short, culprit)}
		v.Page = h.picture(g, start, short)
		h.violation(v)
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.report.Checked += len(history) - g.checked
	g.checked = len(history)
	return true
}

func unknowns(history []*operation) (n int) {
	for _, o := range history {
		if o.outcome == unknown {
			n++
		}
	}
	return n
}

func (h *Histories) violation(v Violation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.ContainsFunc(h.report.Violations, func(w Violation) bool { return w.Group == v.Group }) {
		h.report.Violations = append(h.report.Violations, v)
	}
}

// picture writes a page with porcupine's picture of a history, and returns its path.
func (h *Histories) picture(g *group, start state, history []*operation) string {
	if h.Folder == "" {
		return ""
	}
	path := filepath.Join(h.Folder, g.tag+".html")
	m := h.model().porcupine(start)
	_, info := porcupine.CheckOperationsVerbose(m, operations(history), h.CheckTimeout)
	if err := porcupine.VisualizePath(m, info, path); err != nil {
		return err.Error()
	}
	return path
}

// shortenTime bounds each of the checks that look for an excerpt.
const shortenTime = 5 * time.Second

// shorten returns the shortest beginning of a wrong history that is wrong, and the operation that ends it. What has
// not ended then has an unknown outcome.
func (m model) shorten(start state, history []*operation) (short []*operation, culprit *operation) {
	ends := slices.DeleteFunc(slices.Clone(history), func(o *operation) bool { return o.end == endless })
	slices.SortFunc(ends, func(a, b *operation) int { return int(a.end - b.end) })
	low, high := 0, len(ends)-1 // the first wrong end is in between
	for low < high {
		middle := (low + high) / 2
		if m.judge(start, until(history, ends[middle].end), shortenTime) == wrong {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if len(ends) == 0 {
		return history, nil
	}
	return until(history, ends[high].end), ends[high]
}

// until returns what a history was at a time.
func until(history []*operation, now int64) (short []*operation) {
	for _, o := range history {
		switch {
		case o.call > now:
		case o.end <= now:
			short = append(short, o)
		case !o.reads():
			open := *o
			open.again = nil
			if open.outcome != unknown {
				open.outcome, open.end, open.note, open.replies = unknown, endless, "no reply yet", nil
			}
			short = append(short, &open)
		}
	}
	return short
}

// excerptLength is the number of operations before the culprit in an excerpt.
const excerptLength = 25

// excerpt returns the operations around a culprit as text, by the time of their call.
func excerpt(m model, start state, tail, history []*operation, culprit *operation) string {
	sorted := slices.Clone(history)
	slices.SortStableFunc(sorted, func(a, b *operation) int { return int(a.call - b.call) })
	at := max(0, slices.Index(sorted, culprit))
	from := max(0, at-excerptLength)
	var b strings.Builder
	if from == 0 && len(tail) > 0 {
		for _, o := range tail {
			fmt.Fprintf(&b, "  %s\n", o)
		}
		fmt.Fprintf(&b, "  checked up to here: %s\n", start)
	}
	for i, o := range sorted {
		switch {
		case o == culprit:
			fmt.Fprintf(&b, "> %s\n", o)
		case i >= from && i < at+excerptLength || o.outcome == unknown:
			fmt.Fprintf(&b, "  %s\n", o)
		}
	}
	return b.String()
}

// Check checks all histories that Run has not checked yet, and returns the report of all. No Run may be going on.
func (h *Histories) Check() Report {
	h.begin()
	h.mu.Lock()
	all := append([]*group(nil), h.all...)
	h.finished = nil
	h.mu.Unlock()
	var next atomic.Int64
	var working sync.WaitGroup
	for range checkers {
		working.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				h.check(all[i])
			}
		})
	}
	working.Wait()
	return h.Report()
}
