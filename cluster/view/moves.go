package view

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// Plan is what a command that moves copies would do, or has begun to do.
type Plan struct {
	Base      uint64        `json:"base"`                // index of the placement from which it was made; the command takes it as AT
	Moves     []PlannedMove `json:"moves,omitempty"`     // copies that have to be made
	Transfers int           `json:"transfers,omitempty"` // shards that get another preferred primary
	Bytes     int64         `json:"bytes"`               // of all moves, as far as sizes are known
	Nodes     []PlannedNode `json:"nodes,omitempty"`
	Problems  []string      `json:"problems,omitempty"` // why the command would be refused; none: it would not
}

// PlannedMove is a copy that has to be made.
type PlannedMove struct {
	Shard int             `json:"shard"`
	From  topology.NodeID `json:"from,omitempty"` // the node that gives a copy up for it; empty if none does
	To    topology.NodeID `json:"to"`
	Bytes int64           `json:"bytes"` // -1: unknown
}

// PlannedNode is what a plan means for a node.
type PlannedNode struct {
	ID             topology.NodeID `json:"id"`
	Copies         int             `json:"copies"`          // that it should have now, primaries included
	CopiesAfter    int             `json:"copies_after"`    // that it should have once the plan is carried out
	Primaries      int             `json:"primaries"`       // of which it is the preferred primary now
	PrimariesAfter int             `json:"primaries_after"` // of which it is then
	BytesIn        int64           `json:"bytes_in"`        // of copies that it gets
	BytesOut       int64           `json:"bytes_out"`       // of copies that it gives up
	Room           int64           `json:"room"`            // bytes that it has room for; -1: it has no limit
	RoomKnown      bool            `json:"room_known"`      // it has said what room it has
}

// Moves are the copies on their way to where they should be, and those that wait.
type Moves struct {
	Paused bool              `json:"paused,omitempty"` // no move begins until an operator says so
	Moves  []Move            `json:"moves,omitempty"`  // those under way first
	Silent []topology.NodeID `json:"silent,omitempty"` // nodes that did not say how far they are
}

// MoveState is how far a move is.
type MoveState string

// The states.
const (
	MoveWaiting MoveState = "waiting" // it has not begun; Move.Waits says why
	MoveCopying MoveState = "copying" // the node catches up
	MoveEnding  MoveState = "ending"  // the copy is in sync; the primary or another copy has yet to change
)

// Move is one copy on its way.
type Move struct {
	Shard    int             `json:"shard"`
	State    MoveState       `json:"state"`
	From     topology.NodeID `json:"from,omitempty"` // the primary, which sends
	To       topology.NodeID `json:"to"`
	Replaces topology.NodeID `json:"replaces,omitempty"` // the node that gives its copy up afterwards
	Bytes    int64           `json:"bytes"`              // of the copy; -1: unknown
	Done     int64           `json:"done"`               // bytes that were sent
	Waits    string          `json:"waits,omitempty"`    // why it has not begun, in words
}

// Encode returns the JSON of a plan.
func (p *Plan) Encode() ([]byte, error) { return json.Marshal(p) }

// Encode returns the JSON of moves.
func (m *Moves) Encode() ([]byte, error) { return json.Marshal(m) }

// DecodePlan reads what Plan.Encode returns, by this version or another one.
func DecodePlan(text []byte) (*Plan, error) { return decode[Plan](text) }

// DecodeMoves reads what Moves.Encode returns, by this version or another one.
func DecodeMoves(text []byte) (*Moves, error) { return decode[Moves](text) }

func decode[T any](text []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, err
	}
	return v, nil
}

// sizesOf returns the bytes of the shards whose primaries have said them.
func sizesOf(t *topology.Topology, loads map[topology.NodeID]*topology.Load) map[int]int64 {
	sizes := map[int]int64{}
	for id, load := range loads {
		for _, s := range load.Shards {
			if int(s.Shard) < len(t.Shards) && s.Shard >= 0 && t.Shards[s.Shard].Primary == id {
				sizes[int(s.Shard)] = s.Bytes
			}
		}
	}
	return sizes
}

// size returns the bytes of a shard; -1 if they are not known.
func size(sizes map[int]int64, shard int) int64 {
	if bytes, known := sizes[shard]; known {
		return bytes
	}
	return -1
}

// PlanOf returns what must move for the placement of one topology to become that of another one, and whether there is room for it.
func PlanOf(was, is *topology.Topology, loads map[topology.NodeID]*topology.Load) *Plan {
	p := &Plan{Base: was.Placement.At}
	sizes := sizesOf(was, loads)
	nodes := make([]PlannedNode, len(was.Nodes))
	at := map[topology.NodeID]*PlannedNode{}
	for i, n := range was.Nodes {
		nodes[i].ID = n.ID
		at[n.ID] = &nodes[i]
		if load := loads[n.ID]; load != nil {
			nodes[i].Room, nodes[i].RoomKnown = load.Room(), true
		}
	}
	for shard := range was.Shards {
		before, after := was.Shards[shard].Assigned, is.Shards[shard].Assigned
		for i, id := range before {
			if n := at[id]; n != nil {
				n.Copies++
				n.Primaries += first(i)
			}
		}
		for i, id := range after {
			if n := at[id]; n != nil {
				n.CopiesAfter++
				n.PrimariesAfter += first(i)
			}
		}
		if len(before) > 0 && len(after) > 0 && before[0] != after[0] {
			p.Transfers++
		}
		p.plan(shard, before, after, size(sizes, shard), at, was.Shards[shard].ISR)
	}
	p.Nodes = nodes
	for i := range nodes {
		n := &nodes[i]
		if need := n.BytesIn + n.BytesIn/10; n.RoomKnown && n.Room != topology.NoLimit && n.BytesIn > 0 && need > n.Room {
			node, _ := was.Node(n.ID)
			p.Problems = append(p.Problems, fmt.Sprintf("%s has room for %d bytes and needs %d", topology.Label(node.Name, node.ID), n.Room, need))
		}
	}
	return p
}

func first(i int) int {
	if i == 0 {
		return 1
	}
	return 0
}

// plan adds what must move for one shard: a copy for each node that gets one, from those that give theirs up.
func (p *Plan) plan(shard int, before, after []topology.NodeID, bytes int64, at map[topology.NodeID]*PlannedNode, isr []topology.NodeID) {
	var gives []topology.NodeID
	for _, id := range before {
		if !slices.Contains(after, id) {
			gives = append(gives, id)
		}
	}
	for _, id := range gives {
		if n := at[id]; n != nil {
			n.BytesOut += max(bytes, 0)
		}
	}
	for _, id := range after {
		if slices.Contains(before, id) || slices.Contains(isr, id) {
			continue
		}
		m := PlannedMove{Shard: shard, To: id, Bytes: bytes}
		if len(gives) > 0 {
			m.From, gives = gives[0], gives[1:]
		}
		p.Moves = append(p.Moves, m)
		p.Bytes += max(bytes, 0)
		if n := at[id]; n != nil {
			n.BytesIn += max(bytes, 0)
		}
	}
}

// MovesOf returns the copies on their way by a topology, those that wait, and those that are there while another one has yet to go.
func MovesOf(t *topology.Topology, waiting []topology.Waiting, loads map[topology.NodeID]*topology.Load, paused bool) *Moves {
	m := &Moves{Paused: paused}
	sizes, done := sizesOf(t, loads), map[topology.Send]int64{}
	for id, load := range loads {
		for _, s := range load.Sends {
			if s.Shard >= 0 && int(s.Shard) < len(t.Shards) && t.Shards[s.Shard].Primary == id {
				done[topology.Send{Shard: s.Shard, To: s.To}] = s.Done
			}
		}
	}
	why := map[topology.Send]string{}
	for _, w := range waiting {
		why[topology.Send{Shard: w.Shard, To: w.To}] = cmp.Or(w.Why, "it begins soon")
	}
	for i := range t.Shards {
		m.add(i, &t.Shards[i], size(sizes, i), done, why)
	}
	for _, n := range t.Nodes {
		if loads[n.ID] == nil {
			m.Silent = append(m.Silent, n.ID)
		}
	}
	order := []MoveState{MoveCopying, MoveEnding, MoveWaiting}
	slices.SortStableFunc(m.Moves, func(a, b Move) int { return slices.Index(order, a.State) - slices.Index(order, b.State) })
	return m
}

// add adds the moves of one shard.
func (m *Moves) add(shard int, row *topology.Shard, bytes int64, done map[topology.Send]int64, why map[topology.Send]string) {
	var surplus []topology.NodeID // have a copy and should have none
	for _, id := range row.ISR {
		if !slices.Contains(row.Assigned, id) {
			surplus = append(surplus, id)
		}
	}
	replaces := func() (id topology.NodeID) {
		if len(surplus) > 0 {
			id, surplus = surplus[0], surplus[1:]
		}
		return id
	}
	for _, id := range row.Assigned {
		key := topology.Send{Shard: topology.ShardID(shard), To: id}
		move := Move{Shard: shard, From: row.Primary, To: id, Bytes: bytes}
		switch {
		case slices.Contains(row.ISR, id):
			continue
		case slices.Contains(row.Learners, id):
			move.State, move.Done = MoveCopying, done[key]
		default:
			move.State, move.Waits = MoveWaiting, why[key]
		}
		move.Replaces = replaces()
		m.Moves = append(m.Moves, move)
	}
	if len(row.Assigned) == 0 {
		return
	}
	for len(surplus) > 0 { // the copy that replaces it is in sync
		m.Moves = append(m.Moves, Move{Shard: shard, State: MoveEnding, From: row.Primary, To: row.Assigned[0], Replaces: replaces(), Bytes: bytes, Done: max(bytes, 0)})
	}
}
