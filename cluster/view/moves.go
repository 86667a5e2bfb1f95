package view

import (
	"encoding/json"

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
