package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"slices"
	"strconv"
)

// replay gives the records of a shard's files to a Handler, once and in order, and finds out which
// of the files count. It changes none.
type replay struct {
	*Reader
	handler Handler
	limit   uint64 // seq at which reading stops

	// Invariant: every record below expected was applied, is in the snapshot, or is damage that was
	// reported.
	expected uint64
	gap      bool                   // reported damage explains records that are missing at this point
	pending  map[string]*blobRecord // values in blobs by key. They are read last: most have been overwritten by then

	// What was found:
	report   Report
	snapshot *fileInfo // the one that was read
	refs     []BlobID  // of the snapshot
	epochs   epochTable
	damaged  map[string]bool // files
	obsolete int             // segments whose records the snapshot has
	cut      *logOffset      // end of the log, if bytes after it do not count
	end      recordID        // the newest record that was read
	named    uint64          // the seq in the shard's manifest
}

// logOffset is a place in the log.
type logOffset struct {
	segment int // index in listing.segments
	at      int64
}

// blobRecord is a record whose payload is in a blob.
type blobRecord struct {
	Record
	unit    uint64 // seq of its batch, or its own: a batch counts as a whole
	fromLog bool
	file    string // that has the record
	at      int64
}

func newReplay(r *Reader, h Handler, limit uint64) *replay {
	return &replay{Reader: r, handler: h, limit: limit, expected: 1, pending: map[string]*blobRecord{}, damaged: map[string]bool{}}
}

// run reads everything but the blobs.
func (r *replay) run() error {
	if err := r.readSnapshot(); err != nil {
		return err
	}
	segments := r.listing.segments
	for i := range segments {
		if i+1 < len(segments) && segments[i+1].seq <= r.expected {
			r.obsolete = i + 1
		}
	}
	for i := r.obsolete; i < len(segments) && r.cut == nil; i++ {
		if err := r.readSegment(i); err != nil {
			return err
		}
	}
	if r.cut != nil && r.report.TornFile == "" {
		r.markTorn(*r.cut)
	}
	r.end = r.reached()
	r.checkMark()
	return r.checkManifest()
}

// reached returns the newest record that was read.
func (r *replay) reached() recordID { return recordID{r.report.Epoch, r.report.Given} }

// damage reports damage to a file of the shard.
func (r *replay) damage(d Damage) {
	r.damaged[d.File] = true
	d.File = r.path(d.File)
	r.report.Damage = append(r.report.Damage, d)
	r.gap = true
	if d.Key != nil {
		r.remove(d.Key)
	}
}

// remove removes a key whose value is deleted or lost. Its former value does not apply either.
func (r *replay) remove(key []byte) {
	delete(r.pending, string(key))
	r.handler.Delete(key)
}

// markTorn records that the log ends with a write that did not finish.
func (r *replay) markTorn(at logOffset) {
	info := r.listing.segments[at.segment]
	r.cut = &at
	r.report.TornFile, r.report.TornAt, r.report.Torn = r.path(info.name), at.at, info.bytes-at.at
}

// readSnapshot reads the newest snapshot that has a footer. If none has, it reads what it can of
// the newest.
func (r *replay) readSnapshot() error {
	for _, whole := range []bool{true, false} {
		for i := range r.listing.snapshots {
			info := &r.listing.snapshots[i]
			read, err := r.trySnapshot(info, whole)
			if err != nil {
				return err
			}
			if read {
				r.snapshot = info
				r.expected, r.report.Given, r.report.Epoch = info.seq+1, info.seq, info.epoch
				r.gap = false
				return nil
			}
		}
	}
	return nil
}

// trySnapshot reads a snapshot if it has a header and, with whole, a footer. The first try is with
// whole; it reports what is missing.
func (r *replay) trySnapshot(info *fileInfo, whole bool) (read bool, err error) {
	f, err := r.openSnapshot(*info)
	if errors.Is(err, errNoHeader) {
		if whole {
			r.damage(Damage{File: info.name, Bytes: info.bytes, What: err.Error()})
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.close()
	f.end = info.bytes - footerBytes
	foot, err := readFooter(f.f, info.bytes, f.seed)
	if errors.Is(err, errNoFooter) {
		if whole {
			r.damage(Damage{File: info.name, Offset: max(f.end, 0), Bytes: min(footerBytes, info.bytes), What: err.Error()})
			return false, nil
		}
		f.end = info.bytes
	} else if err != nil {
		return false, err
	}
	r.addEpochs(f.header)
	return true, r.applySnapshot(f, foot)
}

// applySnapshot applies the records of a snapshot and compares them with its footer, nil for none.
func (r *replay) applySnapshot(f *recordFile, foot *footer) error {
	found := footer{}
	err := r.each(f, func(rec *Record, at int64) error {
		found.add(f.scanner, at)
		r.apply(rec, &blobRecord{file: f.name, at: at})
		if rec.Blob != 0 {
			r.refs = append(r.refs, rec.Blob)
		}
		return nil
	}, func(d *damagedError, at int64) (bool, error) {
		if err := f.resync(max(d.next, at+1)); err != nil {
			return false, err
		}
		if f.end < f.bytes || f.at < f.end { // otherwise it is the missing footer, which was reported
			r.damage(Damage{f.name, at, f.at - at, d.key, d.what})
		}
		return true, nil
	})
	if differs := foot.compare(&found); err == nil && differs != nil && !r.damaged[f.name] {
		r.damage(Damage{File: f.name, Bytes: f.bytes, What: differs.Error()})
	}
	return err
}

// addEpochs adopts a file's epoch table, unless a newer one is known.
func (r *replay) addEpochs(h *fileHeader) {
	if h.epochs.last() >= r.epochs.last() {
		r.epochs = h.epochs
	}
}

// readSegment reads one segment.
func (r *replay) readSegment(i int) error {
	info := r.listing.segments[i]
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
	switch r.policy.header(seq, i+1 == len(r.listing.segments), info.bytes < fixedHeader) {
	case torn:
		r.markTorn(logOffset{i, 0})
	case unsynced:
		r.cut = &logOffset{i, 0}
	default:
		r.damage(Damage{File: info.name, Bytes: info.bytes, What: err.Error()})
	}
}

// logged applies a record of the log, unless the snapshot has it or the log ends before it.
func (r *replay) logged(i int, f *recordFile, rec *Record, at int64) error {
	unit, unitAt := rec.Seq, at
	if f.batchAt > 0 && at < f.batchEnd {
		unit, unitAt = f.batchSeq, f.batchAt
	}
	switch {
	case unit >= r.limit:
		r.cut = &logOffset{i, unitAt}
		return errEnough
	case rec.Seq < r.expected: // the snapshot has it
		r.epochs = r.epochs.extended(rec.Epoch, rec.Seq)
		return nil
	case rec.Seq > r.expected && !r.skipTo(rec.Seq, logOffset{i, unitAt}):
		return errEnough
	}
	r.epochs = r.epochs.extended(rec.Epoch, rec.Seq)
	r.expected, r.gap = rec.Seq+1, false
	r.report.Given, r.report.Epoch = rec.Seq, max(r.report.Epoch, rec.Epoch)
	r.report.Logged++
	r.report.Has, r.report.Commit = Point{rec.Epoch, rec.Seq}, max(r.report.Commit, rec.Seq)
	r.apply(rec, &blobRecord{unit: unit, fromLog: true, file: f.name, at: at})
	return nil
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
	if newest := i+1 == len(r.listing.segments); newest && f.at >= f.end && r.policy.tail() == torn {
		r.markTorn(logOffset{i, at})
		return false, nil
	}
	r.damage(Damage{f.name, at, f.at - at, d.key, d.what})
	return true, nil
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
	return true
}

// apply does what a record says. For a payload in a blob it keeps b.
func (r *replay) apply(rec *Record, b *blobRecord) {
	r.report.Records++
	r.handler.Observe(rec)
	switch rec.Type {
	case Put:
		if rec.Blob != 0 {
			r.handler.Delete(rec.Key)
			b.Record = *rec
			b.Key, b.Meta = bytes.Clone(rec.Key), bytes.Clone(rec.Meta)
			r.pending[string(rec.Key)] = b
			return
		}
		delete(r.pending, string(rec.Key))
		payload := rec.Payload[0]
		if err := r.handler.Put(rec, func(dst []byte) error {
			if len(dst) > len(payload) {
				return io.ErrUnexpectedEOF
			}
			payload = payload[copy(dst, payload):]
			return nil
		}); err != nil && err != ErrSkip {
			r.damage(Damage{b.file, b.at, rec.size(), bytes.Clone(rec.Key), err.Error()})
		}
	case Delete:
		r.remove(rec.Key)
	case Expire:
		epoch, seq := rec.Of()
		if p := r.pending[string(rec.Key)]; p == nil {
			r.handler.Expire(rec.Key, epoch, seq, rec.Expiry)
		} else if p.Epoch == epoch && p.Seq == seq {
			p.Expiry = rec.Expiry
		} else {
			r.remove(rec.Key)
		}
	case Flush:
		clear(r.pending)
		r.handler.Flush()
	}
}

// checkMark compares what was read with the mark, and adopts the mark's seq: a seq is never used
// twice.
func (r *replay) checkMark() {
	m := r.mark
	if !r.reached().before(m.recordID) {
		return
	}
	if !r.gap { // otherwise the damage at the end has been reported
		r.damage(Damage{File: m.file, What: r.missingAfter(m)})
	}
	r.report.Given, r.report.Epoch = max(r.report.Given, m.seq), max(r.report.Epoch, m.epoch)
}

// missingAfter says which records are missing, and what is left of their file.
func (r *replay) missingAfter(m mark) string {
	state := "the file is missing"
	for _, f := range slices.Concat(r.listing.segments, r.listing.snapshots) {
		if f.name == m.file {
			state = fmt.Sprintf("the file ends too early, or is an older copy: it has %d bytes", f.bytes)
		}
	}
	return fmt.Sprintf("the records after %d-%d are missing, up to %d-%d at least: %s", r.report.Epoch, r.report.Given, m.epoch, m.seq, state)
}

// checkManifest compares what was read with the shard's manifest, and adopts its seq: a seq is
// never used twice.
func (r *replay) checkManifest() error {
	lines, err := readLines(r.fs, r.path(manifestName), "shard", maxManifest)
	if errors.Is(err, iofs.ErrNotExist) {
		if r.policy.wasClean && len(r.listing.segments)+len(r.listing.snapshots) > 0 {
			r.damage(Damage{File: manifestName, What: "the file is missing"})
		}
		return nil // the first clean stop or snapshot writes it
	}
	if errors.Is(err, errManifest) {
		r.damage(Damage{File: manifestName, What: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	seq, _ := strconv.ParseUint(lines["seq"], 10, 64)
	switch {
	case lines["cluster"] != r.identity.Cluster().String() || lines["shard"] != strconv.Itoa(r.shard):
		r.damage(Damage{File: manifestName, What: fmt.Sprintf("it belongs to shard %s of cluster %s", lines["shard"], lines["cluster"])})
	case seq > r.report.Given && r.limit == math.MaxUint64 && !r.gap:
		r.damage(Damage{File: manifestName, What: fmt.Sprintf("the records from %d to %d are missing", r.report.Given+1, seq)})
	}
	r.named = seq
	r.report.Given = max(r.report.Given, seq)
	return nil
}
