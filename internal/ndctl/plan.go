package ndctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

const checkMoves = "check ndctl moves"

// order is a command that moves copies: it shows a plan, asks, has it carried out, and waits if it should.
type order struct {
	app             *app
	plan, yes, wait *bool
}

// orderFlags adds the flags of a command that moves copies.
func (a *app) orderFlags(c *cobra.Command) order {
	o := order{app: a, yes: yesFlag(c)}
	o.plan = c.Flags().Bool("plan", false, "only show what would move")
	o.wait = c.Flags().Bool("wait", false, "wait until all copies are where they should be, and show how far they are")
	document(c, planReport{})
	return o
}

// run shows the plan of a command, and has it carried out if the user agrees.
func (o order) run(ctx context.Context, s *session, question string, args ...any) error {
	r, err := fetchPlan(ctx, s, args...)
	if err != nil {
		return err
	}
	asked := o.app.out
	if !asked.json {
		r.print(asked)
	}
	switch {
	case len(r.Problems) > 0:
		if asked.json {
			return asked.failedReport(r)
		}
		return errPrinted
	case *o.plan || r.nothing():
		if asked.json {
			return asked.show(r)
		}
		return nil
	}
	if err := o.app.prompt.confirm(*o.yes, question); err != nil {
		return err
	}
	if err := s.propose(ctx, s.self(), checkMoves, append(args, "AT", r.Base)...); err != nil {
		return o.app.out.failures(nodeFailures{{s.self(), explainPlaced(err)}})
	}
	r.Started = true
	if *o.wait {
		if err := awaitMoves(ctx, s, o.app.out); err != nil {
			return err
		}
		r.Done = true
	}
	switch {
	case asked.json:
		return asked.show(r)
	case *o.wait:
		asked.printf("done: each copy is where it should be\n")
	default:
		asked.printf("started: ndctl moves shows how far it is\n")
	}
	return nil
}

// failedReport writes a report as JSON, and returns the error that ends the program.
func (p *printer) failedReport(r report) error {
	if err := p.show(r); err != nil {
		return err
	}
	return errPrinted
}

// explainPlaced adds to the error of a plan that is out of date what to do.
func explainPlaced(err error) error {
	if strings.Contains(err.Error(), "since the plan was made") {
		return fmt.Errorf("something else was moved meanwhile: nothing was changed, so look at the plan again")
	}
	return err
}

// fetchPlan asks for the plan of a command.
func fetchPlan(ctx context.Context, s *session, args ...any) (*planReport, error) {
	text, err := askMoves(ctx, s, append(args, "PLAN")...)
	if err != nil {
		return nil, err
	}
	p, err := view.DecodePlan([]byte(text))
	if err != nil {
		return nil, failure("%s answers with a plan that cannot be read: %v", s.self().Label(), err)
	}
	return newPlanReport(s.cluster, p), nil
}

// movesTimeout is how long a node takes at most to ask all others.
const movesTimeout = 10 * time.Second

// askMoves sends a command about moves to the node that was asked first.
func askMoves(ctx context.Context, s *session, args ...any) (string, error) {
	m := s.self()
	if m == nil || m.client == nil {
		return "", errNoAddress
	}
	text, err := m.client.WithTimeout(s.options.timeout+movesTimeout).Do(ctx, args...).Text()
	switch {
	case err == nil:
		return text, nil
	case isUnknownCommand(err):
		return "", failure("%s runs an earlier version, which does not know %s: upgrade it", m.Label(), strings.ToUpper(fmt.Sprint(args[0], " ", args[1])))
	}
	return "", failure("%s: %s", m.Label(), explain(err))
}

// isUnknownCommand reports whether a node does not know a command.
func isUnknownCommand(err error) bool {
	_, reply := err.(redis.Error)
	return reply && strings.Contains(strings.ToLower(err.Error()), "unknown subcommand")
}

// planReport is a plan with the names of the nodes.
type planReport struct {
	Base      uint64         `json:"base" doc:"number of the placement from which the plan was made"`
	Moves     []plannedMove  `json:"moves" doc:"copies that have to be made"`
	Bytes     int64          `json:"bytes" doc:"bytes of these copies, as far as they are known"`
	Transfers int            `json:"transfers" doc:"shards that get another preferred primary"`
	Nodes     []plannedShare `json:"nodes" doc:"what the plan means for each node"`
	Problems  []string       `json:"problems" doc:"why it is not carried out, in words that may change"`
	Started   bool           `json:"started" doc:"true if it is carried out"`
	Done      bool           `json:"done" doc:"true if it was waited for (--wait), and each copy is where it should be"`
}

type plannedMove struct {
	Shard int    `json:"shard" doc:"number of the shard"`
	From  string `json:"from" doc:"name of the node that gives a copy up for it; empty if none does"`
	To    string `json:"to" doc:"name of the node that gets the copy"`
	Bytes *int64 `json:"bytes" doc:"bytes of the copy; null if they are not known"`
}

type plannedShare struct {
	Name           string `json:"name" doc:"name of the node"`
	Copies         int    `json:"copies" doc:"copies that it should have now, primaries included"`
	CopiesAfter    int    `json:"copies_after" doc:"copies that it should have afterwards"`
	Primaries      int    `json:"primaries" doc:"shards of which it is the preferred primary now"`
	PrimariesAfter int    `json:"primaries_after" doc:"shards of which it is afterwards"`
	BytesIn        int64  `json:"bytes_in" doc:"bytes of the copies that it gets"`
	BytesOut       int64  `json:"bytes_out" doc:"bytes of the copies that it gives up"`
	Room           *int64 `json:"room" doc:"bytes that it has room for; null if it has no limit, or does not say"`
}

func newPlanReport(c *view.Cluster, p *view.Plan) *planReport {
	r := &planReport{Base: p.Base, Moves: []plannedMove{}, Bytes: p.Bytes, Transfers: p.Transfers, Problems: append([]string{}, p.Problems...)}
	for _, m := range p.Moves {
		r.Moves = append(r.Moves, plannedMove{m.Shard, c.Label(m.From), c.Label(m.To), bytesKnown(m.Bytes)})
	}
	for _, n := range p.Nodes {
		share := plannedShare{c.Label(n.ID), n.Copies, n.CopiesAfter, n.Primaries, n.PrimariesAfter, n.BytesIn, n.BytesOut, nil}
		if n.RoomKnown {
			share.Room = bytesKnown(n.Room)
		}
		r.Nodes = append(r.Nodes, share)
	}
	return r
}

// bytesKnown returns a number, or nil for a negative one.
func bytesKnown(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// nothing reports whether the plan changes nothing.
func (r planReport) nothing() bool {
	changed := len(r.Moves) > 0 || r.Transfers > 0
	for _, n := range r.Nodes {
		changed = changed || n.Copies != n.CopiesAfter || n.Primaries != n.PrimariesAfter
	}
	return !changed
}

func (r planReport) print(p *printer) {
	t := newTable("NODE", "COPIES", "PRIMARIES", "BYTES IN", "BYTES OUT", "ROOM")
	arrow := func(before, after int) cell {
		if before == after {
			return rightAligned(fmt.Sprint(before))
		}
		return rightAligned(fmt.Sprintf("%d -> %d", before, after))
	}
	for _, n := range r.Nodes {
		room := rightAligned("-")
		if n.Room != nil {
			room = size(*n.Room)
		}
		t.add(text(n.Name), arrow(n.Copies, n.CopiesAfter), arrow(n.Primaries, n.PrimariesAfter), size(n.BytesIn), size(n.BytesOut), room)
	}
	t.print(p)
	if r.nothing() {
		p.printf("nothing moves\n")
		return
	}
	p.printf("%s to make, %s; %s another preferred primary\n", plural2(len(r.Moves), "copy", "copies"), bytesText(r.Bytes), plural2(r.Transfers, "shard gets", "shards get"))
	for _, problem := range r.Problems {
		p.printf("%s\n", p.paint(red, "not possible: "+view.OneLine(problem)))
	}
}

func plural2(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
