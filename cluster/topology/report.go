package topology

import "cmp"

// Point is the end of a copy: the version of its newest change.
type Point struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Compare orders points: the greater one has more.
func (p Point) Compare(o Point) int {
	return cmp.Or(cmp.Compare(p.Epoch, o.Epoch), cmp.Compare(p.Seq, o.Seq))
}

// Report is a member's statement that it hears no primary of a shard in Epoch. It has accepted and acknowledged
// nothing of that epoch since. A member repeats it until the row has another epoch.
type Report struct {
	Node        NodeID  `json:"node"`
	Incarnation uint64  `json:"incarnation"`
	Shard       ShardID `json:"shard"`
	Epoch       uint64  `json:"epoch"`
	Point       Point   `json:"point"` // what the copy has
	At          int64   `json:"-"`     // ms of the controller's clock when this process first reported this epoch
}
