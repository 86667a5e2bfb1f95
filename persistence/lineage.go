package persistence

import (
	"errors"
	"slices"
)

// lineage knows which segments of a shard follow one another. After a loss of power, segments of a
// truncated tail may be back: their removal, or that of their last records, was not synced.
//
// The header of a segment tells in which epoch the record before its first one was. An epoch and a
// seq name one record and all that precedes it, so a segment follows a record exactly if it tells
// that record's epoch.
type lineage struct {
	segments []fileInfo   // in the order of their first seqs
	begins   []uint64     // epoch of each one's first record; 0 if it has no header
	tables   []epochTable // of their headers
	stale    []bool       // they belong to a truncated tail
	last     recordID     // the newest record that was read, or what the snapshot has in its place
	epoch    uint64       // of the newest record that was read from a segment
}

// read takes note of a record of a segment.
func (l *lineage) read(r *Record) { l.last, l.epoch = recordID{r.Epoch, r.Seq}, r.Epoch }

// readLineage reads the headers of all segments. The snapshot, if there is one, ends with seq and
// has that epoch table.
func (r *Reader) readLineage(snapshot epochTable, seq uint64) (lineage, error) {
	n := len(r.listing.segments)
	l := lineage{
		segments: r.listing.segments, begins: make([]uint64, n), tables: make([]epochTable, n), stale: make([]bool, n),
		last: recordID{snapshot.of(seq), seq},
	}
	for i, info := range l.segments {
		f, err := r.openSegment(info)
		if errors.Is(err, errNoHeader) {
			continue
		}
		if err != nil {
			return l, err
		}
		l.begins[i], l.tables[i] = f.header.epoch, f.header.epochs
		f.close()
		if info.seq <= seq+1 && l.contradicts(i, snapshot.of(info.seq-1)) {
			l.stale[i] = true
		}
	}
	return l, nil
}

// contradicts reports whether a segment tells another epoch of the record before its first one.
func (l *lineage) contradicts(i int, epoch uint64) bool {
	told := l.tables[i].of(l.segments[i].seq - 1)
	return told != 0 && epoch != 0 && told != epoch
}

// obsolete returns how many segments have no record after seq.
func (l *lineage) obsolete(seq uint64) int {
	for i := len(l.segments) - 1; i > 0; i-- {
		if l.segments[i].seq <= seq+1 && !l.stale[i] && !l.falls(i) {
			return i
		}
	}
	return 0
}

// precedes reports whether a segment does not follow the newest record read so far: it was there
// before that record. A log's epochs never go down.
func (l *lineage) precedes(i int) bool {
	if flawed("keepLowerEpoch") {
		return false
	}
	return l.stale[i] || l.begins[i] != 0 && l.begins[i] < l.epoch ||
		l.last.seq+1 == l.segments[i].seq && l.contradicts(i, l.last.epoch)
}

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
// its seq, and follows the record before it or, if that is not known, begins with a higher epoch.
func (l *lineage) replaced(i int, rec *Record) bool {
	for j := i + 1; j < len(l.begins) && l.segments[j].seq <= rec.Seq; j++ {
		switch {
		case l.stale[j] || l.begins[j] == 0:
		case l.segments[j].seq == rec.Seq && l.last.seq+1 == rec.Seq && l.tables[j].of(l.last.seq) != 0:
			if l.tables[j].of(l.last.seq) == l.last.epoch && l.begins[j] >= l.last.epoch {
				return true
			}
			l.stale[j] = true
		case l.begins[j] > rec.Epoch:
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
		p.has = Point{epochs.of(seq - 1), seq - 1}
	}
}
