package ndctl

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

const (
	movesPollInterval = 300 * time.Millisecond
	// lineInterval is the time between two lines of progress where there is no terminal.
	lineInterval = 5 * time.Second
	// stallTimeout is how long a wait without --wait-timeout goes on while nothing moves.
	stallTimeout = time.Minute
)

// waitFlags say whether and how long a command waits for what it has started.
type waitFlags struct {
	wait  bool
	limit time.Duration // 0: until nothing has moved for stallTimeout
	flag  func() bool   // whether --wait-timeout is given
}

func addWaitFlags(c *cobra.Command, until string) *waitFlags {
	f := &waitFlags{}
	c.Flags().BoolVar(&f.wait, "wait", false, "wait until "+until)
	c.Flags().DurationVar(&f.limit, "wait-timeout", 0, "how long to wait (default: until nothing has moved for a minute)")
	f.flag = func() bool { return c.Flags().Changed("wait-timeout") }
	return f
}

func (f *waitFlags) check() error {
	if f.flag() && f.limit <= 0 {
		return usageError("--wait-timeout must be positive")
	}
	return nil
}

// expired returns why a wait ends without success, or nil if it goes on.
func (f *waitFlags) expired(started, changed, now time.Time) error {
	switch {
	case f.limit > 0 && now.Sub(started) >= f.limit:
		return fmt.Errorf("not finished within %s", f.limit)
	case f.limit == 0 && now.Sub(changed) >= stallTimeout:
		return fmt.Errorf("not finished, and nothing has moved for %s", view.Duration(stallTimeout))
	}
	return nil
}

const movesGoOn = "the moves go on; ndctl moves shows them"

// moveWait waits until a plan is carried out.
type moveWait struct {
	session  *session
	progress *progress
	display  *progressDisplay
	flags    *waitFlags
	placed   map[copyKey]bool // copies whose nodes were seen to be assigned
	empties  topology.NodeID  // the node that is to have no copies in the end; "" for none
	left     int              // copies that it has, or that are on their way to it
}

func newMoveWait(s *session, p *printer, plan *view.Plan, f *waitFlags) *moveWait {
	now := time.Now()
	return &moveWait{session: s, progress: newProgress(plan, now), display: newProgressDisplay(p, now), flags: f, placed: map[copyKey]bool{}}
}

// run returns when all copies are made and all primaries have changed.
func (w *moveWait) run(ctx context.Context) error {
	defer w.display.clear()
	for started := time.Now(); ; {
		seen := w.look(ctx, nil)
		now := time.Now()
		if seen && w.progress.over() && w.left == 0 {
			break
		}
		w.display.show(now, w.progress)
		if err := w.flags.expired(started, w.progress.changed, now); err != nil {
			return w.explain(err, seen)
		}
		if !sleep(ctx, movesPollInterval) {
			return &detachedError{movesGoOn}
		}
	}
	if n := w.progress.totals().dropped; n > 0 {
		return fmt.Errorf("%d of %s were cancelled, or replaced by another plan", n, copiesText(len(w.progress.copies)))
	}
	return nil
}

// explain adds to an expired wait what holds the moves up.
func (w *moveWait) explain(expired error, seen bool) error {
	why := w.progress.blocked()
	switch {
	case !seen:
		why = "no node says how far it is"
	case why == "":
		why = movesGoOn
	}
	return fmt.Errorf("%w: %s; %s", expired, w.progress.totals().line(), why)
}

// look asks the nodes, one after the other, for the moves and the topology, and observes what the first one answers.
func (w *moveWait) look(ctx context.Context, except *member) bool {
	for _, m := range w.session.fromSelf() {
		if m == except {
			continue
		}
		moves, err := fetchMoves(ctx, m)
		if err != nil {
			continue
		}
		if c, err := fetchCluster(ctx, m.client); err == nil {
			w.observe(c, moves)
			return true
		}
	}
	return false
}

func (w *moveWait) observe(c *view.Cluster, moves *view.Moves) {
	for k := range w.progress.copies {
		if k.shard < len(c.Shards) && slices.Contains(c.Shards[k.shard].Assigned, k.to) {
			w.placed[k] = true
		}
	}
	w.follow(c, moves)
	left := 0
	for i, row := range c.Shards {
		if i < len(w.session.cluster.Shards) && gotPreferred(&w.session.cluster.Shards[i], &row) && row.Primary != row.Assigned[0] {
			left++
		}
	}
	w.progress.observe(time.Now(), moves, left, func(k copyKey) copyFate { return w.fate(c, k) })
}

// follow counts the copies of the node that is to have none, and begins to follow those that replace them: an earlier order may have begun what
// the plan does not show any more.
func (w *moveWait) follow(c *view.Cluster, moves *view.Moves) {
	if w.empties == "" {
		return
	}
	w.left = 0
	for _, row := range c.Shards {
		if slices.Contains(row.InSync, w.empties) || slices.Contains(row.Learners, w.empties) {
			w.left++
		}
	}
	for _, m := range moves.Moves {
		if m.Replaces == w.empties {
			w.progress.add([]view.Move{m})
		}
	}
}

// gotPreferred reports whether a shard has got another preferred primary.
func gotPreferred(before, now *view.Shard) bool {
	return len(now.Assigned) > 0 && (len(before.Assigned) == 0 || before.Assigned[0] != now.Assigned[0])
}

// fate says by a topology what became of a copy that CLUSTER MOVES does not list. The topology of a node that lags may
// not have the new placement yet: a copy is dropped only if its node was assigned before.
func (w *moveWait) fate(c *view.Cluster, k copyKey) copyFate {
	if k.shard >= len(c.Shards) {
		return copyOpen
	}
	row := &c.Shards[k.shard]
	switch assigned := slices.Contains(row.Assigned, k.to); {
	case assigned && slices.Contains(row.InSync, k.to):
		return copyMade
	case !assigned && w.placed[k]:
		return copyDropped
	}
	return copyOpen
}

// fromSelf returns the nodes that can be asked, the node that was asked first in front.
func (s *session) fromSelf() []*member {
	all := []*member{s.self()}
	for _, m := range s.members {
		if !m.self && m.client != nil && m.Up {
			all = append(all, m)
		}
	}
	return all
}

// fetchMoves asks a node for the copies on their way.
func fetchMoves(ctx context.Context, m *member) (*view.Moves, error) {
	text, err := m.do(ctx, "CLUSTER", "MOVES").Text()
	switch {
	case isEarlierVersion(err):
		return nil, errEarlierVersion
	case err != nil:
		return nil, err
	}
	moves, err := view.DecodeMoves([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("cannot read its answer to CLUSTER MOVES: %w", err)
	}
	return moves, nil
}

// moves returns the copies on their way, as the first node that answers knows them.
func (s *session) moves(ctx context.Context) (*view.Moves, error) {
	var first error
	for _, m := range s.fromSelf() {
		moves, err := fetchMoves(ctx, m)
		if err == nil {
			return moves, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// progressDisplay shows a progress: as a bar on a terminal, or else as a line now and then.
type progressDisplay struct {
	out  *printer
	bar  bool
	last time.Time // of the last line
	text string    // of the last line
}

func newProgressDisplay(p *printer, now time.Time) *progressDisplay {
	return &progressDisplay{out: p, bar: isTerminal(p.err) && p.env.get("TERM") != "dumb", last: now}
}

func (d *progressDisplay) show(now time.Time, p *progress) {
	t := p.totals()
	text := t.line()
	if why := p.blocked(); why != "" {
		text += "; " + why
	}
	switch {
	case d.out.json:
	case d.bar:
		// The terminal must not wrap the line, or a carriage return would not lead back to its beginning.
		fmt.Fprintf(d.out.err, "\r\x1b[?7l%s %s\x1b[K\x1b[?7h", t.bar(), text)
	case now.Sub(d.last) >= lineInterval && text != d.text:
		d.last, d.text = now, text
		d.out.printf("%s\n", text)
	}
}

// clear removes the bar, so that the next text begins a line.
func (d *progressDisplay) clear() {
	if d.bar && !d.out.json {
		fmt.Fprint(d.out.err, "\r\x1b[K")
	}
}

// watches reports whether a command that has started something shows how far it is: if it is told to, or if a person sees it.
func (p *printer) watches(f *waitFlags) bool { return f.wait || !p.json && isTerminal(p.out) }
