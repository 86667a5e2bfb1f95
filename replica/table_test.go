package replica

import (
	"fmt"
	"testing"
)

// The header of a file names the epoch of the record that was to follow. If a start finds no such record, and the next one has a
// later epoch, the table rises all the same: a primary refuses one that does not.
func TestTableForgetsAnEpochWithoutARecord(t *testing.T) {
	self, other := Process{Node: "self", Incarnation: 1}, Process{Node: "other", Incarnation: 1}
	c := New(self, EpochTable{{7, 1}, {9, 3}}, 2, 2)
	if end := c.End(); end != (Point{7, 2}) {
		t.Errorf("the end is %v", end)
	}
	c.Configure(Config{Epoch: 12, LeaderEpoch: 12, Born: 1, Primary: other, ISR: []Process{other, self}}, 0, 0)
	c.Truncated(2)
	c.Received(Point{12, 3}, 0)
	if got := fmt.Sprint(c.Table()); got != "[{7 1} {12 3}]" {
		t.Errorf("the table is %s", got)
	}
}
