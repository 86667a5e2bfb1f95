package loadtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Counts is how many operations of a kind had which outcome.
type Counts struct{ OK, Refused, Unknown, Aborted int }

// Violation is a history that no sequence of operations explains.
type Violation struct {
	Group   string // hash tag of the keys
	Excerpt string // the operations around the first that fits nowhere
	Page    string // a file with a picture; "" for none
}

// Report is what a load has found so far.
type Report struct {
	Seed       uint64
	Counts     map[string]Counts // by kind
	Groups     int               // that were used
	Checked    int               // operations in the histories that were checked
	Violations []Violation
	Undecided  []string // groups whose check took too long, so nothing is known about them
	Strange    []string // errors and replies that no load should get
}

// maxStrange bounds the number of texts in a report.
const maxStrange = 20

// Err returns nil if all histories were checked and are right.
func (r *Report) Err() error {
	var all []error
	for _, v := range r.Violations {
		text := fmt.Sprintf("%s is not linearizable:\n%s", v.Group, v.Excerpt)
		if v.Page != "" {
			text += "picture: " + v.Page + "\n"
		}
		all = append(all, errors.New(text))
	}
	for _, g := range r.Undecided {
		all = append(all, fmt.Errorf("undecided: %s", g))
	}
	for _, text := range r.Strange {
		all = append(all, fmt.Errorf("strange: %s", text))
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("seed %d: %w", r.Seed, errors.Join(all...))
}

// String returns the numbers of the report as a table.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d groups, %d operations checked, %d violations, %d undecided, %d strange\n",
		r.Seed, r.Groups, r.Checked, len(r.Violations), len(r.Undecided), len(r.Strange))
	for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
		c := r.Counts[name]
		fmt.Fprintf(&b, "  %-22s %9d ok %7d refused %6d unknown %6d aborted\n", name, c.OK, c.Refused, c.Unknown, c.Aborted)
	}
	return b.String()
}

// Total returns the sum over all kinds.
func (r *Report) Total() (sum Counts) {
	for _, c := range r.Counts {
		sum.OK += c.OK
		sum.Refused += c.Refused
		sum.Unknown += c.Unknown
		sum.Aborted += c.Aborted
	}
	return sum
}

// count counts an operation.
func (h *Histories) count(o *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.report.Counts[o.name()]
	switch o.outcome {
	case acknowledged:
		c.OK++
	case refused:
		c.Refused++
	case unknown:
		c.Unknown++
	case aborted:
		c.Aborted++
	}
	h.report.Counts[o.name()] = c
}

// strange reports an error that no load should get.
func (h *Histories) strange(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if text := err.Error(); len(h.report.Strange) < maxStrange && !slices.Contains(h.report.Strange, text) {
		h.report.Strange = append(h.report.Strange, text)
	}
}

// violated reports whether a check has found a violation.
func (h *Histories) violated() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.report.Violations) > 0
}

// Report returns what is known so far, without a check of what is going on.
func (h *Histories) Report() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.report
	r.Groups = len(h.all)
	r.Counts = maps.Clone(r.Counts)
	r.Violations, r.Undecided, r.Strange = slices.Clone(r.Violations), slices.Clone(r.Undecided), slices.Clone(r.Strange)
	return r
}
