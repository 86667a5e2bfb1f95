package persistence

import (
	"errors"
	"slices"
)

// lineage knows which segments of a shard follow one another. After a loss of power, segments of a
// truncated tail may be back: their removal, or that of their last records, was not synced.
type lineage struct {
	segments []fileInfo // in the order of their first seqs
	begins   []uint64   // epoch of each one's first record; 0 if it has no header
	epoch    uint64     // of the newest record that was read
}

// readLineage reads the headers of all segments.
func (r *Reader) readLineage() (lineage, error) {
	l := lineage{segments: r.listing.segments, begins: make([]uint64, len(r.listing.segments))}
	for i, info := range l.segments {
		f, err := r.openSegment(info)
		if errors.Is(err, errNoHeader) {
			continue
		}
		if err != nil {
			return l, err
		}
		l.begins[i] = f.header.epoch
		f.close()
	}
	return l, nil
}

// precedes reports whether a segment begins with a lower epoch than the newest record read so far.
// A log's epochs never go down, so it was there before that record.
func (l *lineage) precedes(i int) bool { return l.begins[i] != 0 && l.begins[i] < l.epoch }

// falls reports whether a segment begins with a lower epoch than one before it.
func (l *lineage) falls(i int) bool {
	return l.begins[i] != 0 && l.begins[i] < slices.Max(l.begins[:i])
}

// newest reports whether no segment after one counts.
func (l *lineage) newest(i int) bool {
	for j := i + 1; j < len(l.begins); j++ {
		if !l.precedes(j) {
			return false
		}
	}
	return true
}

// replaced reports whether a record of a segment belongs to a truncated tail: a later segment has
// its seq, and begins with a higher epoch.
func (l *lineage) replaced(i int, rec *Record) bool {
	for j := i + 1; j < len(l.begins) && l.segments[j].seq <= rec.Seq; j++ {
		if l.begins[j] > rec.Epoch {
			return true
		}
	}
	return false
}

// prefix is what the files of a shard have of its history without a gap.
type prefix struct {
	base   Point // of the snapshot
	has    Point
	broken bool // records are missing after has
}

// newPrefix begins with a snapshot. A damaged one leaves nothing, because a snapshot has no history.
func newPrefix(snapshot Point, damaged bool) prefix {
	if damaged {
		return prefix{broken: true}
	}
	return prefix{base: snapshot, has: snapshot}
}

// add adds the next record of the log.
func (p *prefix) add(r *Record) {
	if !p.broken {
		p.has = Point{r.Epoch, r.Seq}
	}
}

// lostAt ends the prefix before a record that turned out to be damaged.
func (p *prefix) lostAt(seq uint64, epochs epochTable) {
	p.broken = true
	switch {
	case seq > p.has.Seq:
	case seq <= p.base.Seq:
		p.has = Point{}
	case seq == p.base.Seq+1:
		p.has = p.base
	default:
		p.has = Point{epochs.at(seq - 1), seq - 1}
	}
}
