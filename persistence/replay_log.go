package persistence

import (
	"errors"
	"fmt"
)

// readSegment reads one segment, unless it belongs to a truncated tail: a log's epochs never go
// down, so a segment that begins with a lower epoch than the record before it was there before that
// record, and its removal was lost with the power.
func (r *replay) readSegment(i int) error {
	info := r.listing.segments[i]
	if r.lineage.precedes(i) {
		r.dropped[info.name] = true
		return nil
	}
	f, err := r.openSegment(info)
	if errors.Is(err, errNoHeader) {
		r.noHeader(i, err)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.close()
	if info.seq > r.expected && !r.skipTo(info.seq, logOffset{i, 0}) {
		return nil
	}
	r.addEpochs(f.header)
	return r.each(f,
		func(rec *Record, at int64) error { return r.logged(i, f, rec, at) },
		func(d *damagedError, at int64) (bool, error) { return r.passDamage(i, f, d, at) })
}

// noHeader handles a segment without a valid header.
func (r *replay) noHeader(i int, err error) {
	info := r.listing.segments[i]
	seq := max(info.seq, r.expected) // the records of a snapshot may never have reached the disk as a log
	switch r.policy.header(seq, r.lineage.newest(i), r.endsInHeader(info)) {
	case torn:
		r.markTorn(logOffset{i, 0})
	case unsynced:
		r.cut = &logOffset{i, 0}
	default:
		r.damage(Damage{File: info.name, Bytes: info.bytes, What: err.Error()})
	}
}

// logged takes a record of the log, unless the snapshot has it or the log ends before it.
func (r *replay) logged(i int, f *recordFile, rec *Record, at int64) error {
	unit, unitAt := rec.Seq, at
	if f.batchAt > 0 && at < f.batchEnd {
		unit, unitAt = f.batchSeq, f.batchAt
	}
	switch {
	case unit >= r.limit:
		r.cut = &logOffset{i, unitAt}
		return errEnough
	case r.lineage.replaced(i, rec):
		r.tails = append(r.tails, logOffset{i, unitAt})
		return errEnough
	case rec.Seq < r.expected: // the snapshot has it
		r.epochs = r.epochs.extended(rec.Epoch, rec.Seq)
		r.lineage.read(rec)
		return nil
	case rec.Seq > r.expected && !r.skipTo(rec.Seq, logOffset{i, unitAt}):
		return errEnough
	}
	r.epochs = r.epochs.extended(rec.Epoch, rec.Seq)
	r.lineage.read(rec)
	r.expected, r.gap = rec.Seq+1, false
	r.report.Given, r.report.Epoch = rec.Seq, max(r.report.Epoch, rec.Epoch)
	r.report.Time = max(r.report.Time, rec.Time())
	r.report.Logged++
	if rec.Type == NoOp {
		r.report.NoOps++
	}
	r.prefix.add(rec)
	r.hold(rec, &foundRecord{unit: unit, fromLog: true, file: f.name, at: at})
	return nil
}

// hold applies what the record's commit index covers, and keeps the record for later if that is not
// among it.
func (r *replay) hold(rec *Record, f *foundRecord) {
	r.suffix.covers(rec.Commit)
	for held := r.suffix.next(); held != nil; held = r.suffix.next() {
		if held.lost {
			r.remove(held.Key)
		} else {
			r.apply(&held.Record, held)
		}
	}
	if rec.Seq <= r.suffix.commit || flawed("replayAll") {
		r.apply(rec, f)
	} else {
		r.suffix.held = append(r.suffix.held, f.keep(rec))
	}
}

// passDamage handles bytes of a segment that are not a record, and returns whether the log continues
// after them.
func (r *replay) passDamage(i int, f *recordFile, d *damagedError, at int64) (bool, error) {
	if r.policy.record(r.expected) == unsynced {
		r.cut = &logOffset{i, at}
		return false, nil
	}
	if err := f.resync(max(d.next, at+1)); err != nil {
		return false, err
	}
	if r.lineage.newest(i) && f.at >= f.end && r.policy.tail() == torn {
		r.markTorn(logOffset{i, at})
		return false, nil
	}
	r.damage(Damage{f.name, at, f.at - at, d.key, d.what})
	if d.key != nil {
		r.lose(d.key)
	}
	return true, nil
}

// lose removes a key whose record in the log is damaged, after what is held back before it.
func (r *replay) lose(key []byte) {
	if len(r.suffix.held) == 0 {
		r.remove(key)
		return
	}
	r.suffix.held = append(r.suffix.held, &foundRecord{Record: Record{Key: key, Seq: r.expected}, lost: true})
}

// skipTo handles records that are missing between the expected one and seq, and returns whether the
// log continues.
func (r *replay) skipTo(seq uint64, at logOffset) bool {
	if r.policy.record(r.expected) == unsynced {
		r.cut = &at
		return false
	}
	if !r.gap {
		name := r.listing.segments[at.segment].name
		r.damage(Damage{File: name, Offset: at.at, What: fmt.Sprintf("the records from %d to %d are missing before this one", r.expected, seq-1)})
	}
	r.prefix.broken = true
	return true
}
