package ndctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// planReport is what a command that moves copies would do, or has done.
type planReport struct {
	Base      uint64              `json:"base" doc:"index of the placement from which the plan was made; it is carried out only if the placement is still the same"`
	Copies    int                 `json:"copies" doc:"copies that have to be made"`
	Bytes     int64               `json:"bytes" doc:"bytes of these copies, as far as their sizes are known"`
	Transfers int                 `json:"transfers" doc:"shards that get another preferred primary"`
	Moves     []plannedMoveReport `json:"moves" doc:"the copies that have to be made"`
	Nodes     []plannedNodeReport `json:"nodes" doc:"what the plan means for each node"`
	Problems  []string            `json:"problems" doc:"why the command is refused, in words that may change; empty if it is not"`
	Started   bool                `json:"started" doc:"whether the cluster has begun to carry the plan out"`
	Done      bool                `json:"done" doc:"whether all of it is carried out, if ndctl has waited for that"`
}

type plannedMoveReport struct {
	Shard  int    `json:"shard" doc:"number of the shard"`
	From   string `json:"from" doc:"name of the node that gives its copy up; empty if none does"`
	FromID string `json:"from_id" doc:"its node id"`
	To     string `json:"to" doc:"name of the node that gets a copy"`
	ToID   string `json:"to_id" doc:"its node id"`
	Bytes  *int64 `json:"bytes" doc:"bytes of the copy; null if its size is not known"`
}

type plannedNodeReport struct {
	Name           string `json:"name" doc:"name of the node"`
	ID             string `json:"id" doc:"its node id"`
	Copies         int    `json:"copies" doc:"copies that it should have now, primaries included"`
	CopiesAfter    int    `json:"copies_after" doc:"copies that it should have afterwards"`
	Primaries      int    `json:"primaries" doc:"shards of which it is the preferred primary now"`
	PrimariesAfter int    `json:"primaries_after" doc:"shards of which it is the preferred primary afterwards"`
	BytesIn        int64  `json:"bytes_in" doc:"bytes of the copies that it gets"`
	BytesOut       int64  `json:"bytes_out" doc:"bytes of the copies that it gives up"`
	Room           *int64 `json:"room_bytes" doc:"bytes that it has room for; -1 if it has no limit, null if it has not said"`
}

// fetchPlan asks the node that was asked first what a request would do.
func (s *session) fetchPlan(ctx context.Context, request []any) (*view.Plan, error) {
	return s.fetchPlanFrom(ctx, s.self(), request)
}

// fetchPlanFrom asks a node what a request would do.
func (s *session) fetchPlanFrom(ctx context.Context, m *member, request []any) (*view.Plan, error) {
	if m.client == nil {
		return nil, errNoAddress
	}
	client := m.client.WithTimeout(s.options.timeout + decisionTimeout) // it asks other nodes for their sizes
	text, err := client.Do(ctx, append(slices.Clone(request), "PLAN")...).Text()
	switch {
	case isEarlierVersion(err):
		return nil, errEarlierVersion
	case err != nil:
		return nil, err
	}
	plan, err := view.DecodePlan([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("cannot read its answer to %v %v PLAN: %w", request[0], request[1], err)
	}
	return plan, nil
}

func newPlanReport(c *view.Cluster, plan *view.Plan) *planReport {
	r := &planReport{
		Base: plan.Base, Copies: len(plan.Moves), Bytes: plan.Bytes, Transfers: plan.Transfers,
		Moves: []plannedMoveReport{}, Nodes: []plannedNodeReport{}, Problems: append([]string{}, plan.Problems...),
	}
	for _, m := range plan.Moves {
		r.Moves = append(r.Moves, plannedMoveReport{
			Shard: m.Shard, From: c.Label(m.From), FromID: string(m.From), To: c.Label(m.To), ToID: string(m.To), Bytes: knownBytes(m.Bytes),
		})
	}
	for _, n := range plan.Nodes {
		row := plannedNodeReport{
			Name: c.Label(n.ID), ID: string(n.ID), Copies: n.Copies, CopiesAfter: n.CopiesAfter,
			Primaries: n.Primaries, PrimariesAfter: n.PrimariesAfter, BytesIn: n.BytesIn, BytesOut: n.BytesOut,
		}
		if n.RoomKnown {
			row.Room = pointer(n.Room)
		}
		r.Nodes = append(r.Nodes, row)
	}
	slices.SortStableFunc(r.Nodes, func(a, b plannedNodeReport) int { return strings.Compare(a.Name, b.Name) })
	return r
}

// knownBytes returns a size, or nil for one that is not known.
func knownBytes(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// idle reports whether the plan changes nothing.
func (r *planReport) idle() bool { return r.Copies == 0 && r.Transfers == 0 }

// summary says in a line what the plan does.
func (r *planReport) summary() string {
	if r.idle() {
		return "no copy moves, and no shard gets another primary"
	}
	text := "no copy moves"
	if r.Copies > 0 {
		var targets []string
		sized := 0
		for _, m := range r.Moves {
			if m.Bytes != nil {
				sized++
			}
			if !slices.Contains(targets, m.ToID) {
				targets = append(targets, m.ToID)
			}
		}
		text = copiesText(r.Copies) + ", "
		switch sized {
		case r.Copies:
			text += bytesText(r.Bytes)
		case 0:
			text += "of unknown size"
		default:
			text += fmt.Sprintf("%s and %d of unknown size", bytesText(r.Bytes), r.Copies-sized)
		}
		text += ", to " + plural(len(targets), "node")
	}
	switch r.Transfers {
	case 0:
		return text
	case 1:
		return text + "; 1 shard gets another primary"
	}
	return fmt.Sprintf("%s; %d shards get another primary", text, r.Transfers)
}

// copiesText returns a number of copies in words.
func copiesText(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return fmt.Sprintf("%d copies", n)
}

func (r *planReport) print(p *printer) {
	if len(r.Nodes) > 0 {
		t := newTable("NODE", "COPIES", "PRIMARIES", "IN", "OUT", "ROOM")
		for i := range r.Nodes {
			n := &r.Nodes[i]
			t.add(text(n.Name), changeCell(n.Copies, n.CopiesAfter), changeCell(n.Primaries, n.PrimariesAfter), size(n.BytesIn), size(n.BytesOut), n.roomCell())
		}
		t.print(p)
		p.printf("\n")
	}
	p.printf("%s\n", r.summary())
	for _, problem := range r.Problems {
		p.printf("%s %s\n", p.paint(red, "problem:"), view.OneLine(problem))
	}
}

// changeCell shows a number before and after.
func changeCell(before, after int) cell {
	if before == after {
		return rightAligned(fmt.Sprint(before))
	}
	return cell{text: fmt.Sprintf("%d -> %d", before, after), colour: bold, right: true}
}

// roomCell shows the room of a node, in red if the copies that it gets do not fit.
func (n *plannedNodeReport) roomCell() cell {
	switch {
	case n.Room == nil:
		return unknown
	case *n.Room == topology.NoLimit:
		return rightAligned("no limit")
	case n.BytesIn > *n.Room:
		return cell{text: bytesText(*n.Room), colour: red, right: true}
	}
	return size(*n.Room)
}

// hasChanged reports whether the placement has changed since a plan was made, after the cluster has refused to carry the plan out.
func (s *session) hasChanged(ctx context.Context, request []any, base uint64, refusal error) bool {
	var uncertain *uncertainError
	if isConnectionError(refusal) || errors.As(refusal, &uncertain) || rightsHint(refusal) != "" {
		return false
	}
	now, err := s.fetchPlan(ctx, request)
	return err == nil && now.Base != base
}
