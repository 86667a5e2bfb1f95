package persistence

import "slices"

// EpochStart is a row of an epoch table: the first seq of an epoch.
type EpochStart struct{ Epoch, Seq uint64 }

// maxEpochs is how many rows of its epoch table a shard keeps. Without an
// older row a replica may need a full copy where a partial one would do.
const maxEpochs = 256

// epochTable says where the epochs of a log begin. Epochs and seqs rise from row to row.
type epochTable []EpochStart

// last returns the newest epoch, 0 for an empty table.
func (t epochTable) last() uint64 {
	if len(t) == 0 {
		return 0
	}
	return t[len(t)-1].Epoch
}

// extended returns the table with a row for the epoch, if that is newer than the last one. The
// newest maxEpochs rows stay. Rows of earlier epochs that would begin there or later go: a segment
// was to begin with such an epoch, and no record of it was written.
func (t epochTable) extended(epoch, seq uint64) epochTable {
	if epoch <= t.last() {
		return t
	}
	for n := len(t); n > 0 && t[n-1].Seq >= seq; n-- {
		t = t[: n-1 : n-1]
	}
	if t = append(t, EpochStart{epoch, seq}); len(t) > maxEpochs {
		return slices.Clone(t[len(t)-maxEpochs:])
	}
	return t
}

// rising returns the table without the rows of epochs of which no record was written. Files of earlier programs may have some.
func (t epochTable) rising() (clean epochTable) {
	for _, row := range t {
		clean = clean.extended(row.Epoch, row.Seq)
	}
	return clean
}

// upTo returns the rows of the records up to a seq.
func (t epochTable) upTo(seq uint64) epochTable {
	n := len(t)
	for n > 0 && t[n-1].Seq > seq {
		n--
	}
	return t[:n:n]
}

// of returns the epoch of the record with a seq; 0 if the table does not tell.
func (t epochTable) of(seq uint64) uint64 { return t.upTo(seq).last() }

// Point is a place in the history of a shard: the epoch and the seq of a record.
type Point struct{ Epoch, Seq uint64 }
