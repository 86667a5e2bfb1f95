package replica

import "fmt"

// Point is the place of a record in a log: the epoch in which a primary appended it, and its seq.
// Two logs that have a record with the same Point have the same records before it, too.
type Point struct{ Epoch, Seq uint64 }

// Less reports whether a log that ends at p is behind one that ends at q. The epoch decides first,
// because a log that ends in a later epoch has all that earlier epochs have committed.
func (p Point) Less(q Point) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Seq < q.Seq
}

func (p Point) String() string { return fmt.Sprintf("%d-%d", p.Epoch, p.Seq) }

// EpochStart is the first record of an epoch in a log.
type EpochStart struct{ Epoch, Seq uint64 }

// EpochTable lists the epochs of a log in order, each with the seq of its first record. It covers the
// log without gaps: an epoch ends one record before the next one begins, and the last ends with the log.
type EpochTable []EpochStart

// At returns the epoch of the record with the given seq of a log that ends at seq end. It returns false if
// the table does not reach it.
func (t EpochTable) At(seq, end uint64) (epoch uint64, ok bool) {
	if seq > end {
		return 0, false
	}
	for i := len(t) - 1; i >= 0; i-- {
		if t[i].Seq <= seq {
			return t[i].Epoch, true
		}
	}
	return 0, false
}

// last returns the seq of the last record of epoch i of the table.
func (t EpochTable) last(i int, end uint64) uint64 {
	if i+1 < len(t) {
		return t[i+1].Seq - 1
	}
	return end
}

// extend returns the table of a log to which records of an epoch are appended, the first of them with a seq.
func (t EpochTable) extend(epoch, first uint64) EpochTable {
	if n := len(t); n > 0 && t[n-1].Epoch >= epoch {
		return t
	}
	return append(t, EpochStart{epoch, first})
}

// cut returns the table of a log whose records behind a seq have been removed.
func (t EpochTable) cut(after uint64) EpochTable {
	for len(t) > 0 && t[len(t)-1].Seq > after {
		t = t[:len(t)-1]
	}
	return t
}

// CommonPoint returns the newest record that two logs share, each given by its table and the seq of its
// end. The zero Point means that they share the empty beginning: both logs begin with seq 1, or one is empty and
// the other begins with seq 1. It returns false if the tables reach no common record: a snapshot has replaced
// what they share, if they share anything.
//
// Only one process appends in an epoch, so two logs that have an epoch share its records as far as both have them.
func CommonPoint(a EpochTable, aEnd uint64, b EpochTable, bEnd uint64) (Point, bool) {
	i, j := len(a)-1, len(b)-1
	for i >= 0 && j >= 0 {
		switch {
		case a[i].Epoch > b[j].Epoch:
			i--
		case a[i].Epoch < b[j].Epoch:
			j--
		default:
			if seq := min(a.last(i, aEnd), b.last(j, bEnd)); seq >= max(a[i].Seq, b[j].Seq) {
				return Point{a[i].Epoch, seq}, true
			}
			i--
			j--
		}
	}
	return Point{}, a.fromStart() && b.fromStart()
}

// fromStart reports whether the log is empty or begins with seq 1.
func (t EpochTable) fromStart() bool { return len(t) == 0 || t[0].Seq == 1 }
