package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"strconv"
)

// replay gives the records of a shard's files to a Handler, once and in order, and finds out which
// of the files count. It changes none. Records that no commit index covers come last.
type replay struct {
	*Reader
	handler Handler
	limit   uint64 // seq at which reading stops

	// Invariant: every record below expected was applied, is in the snapshot, or is damage that was
	// reported.
	expected uint64
	gap      bool // reported damage explains records that are missing at this point
	prefix   prefix
	suffix   suffix
	lineage  lineage
	pending  map[string]*foundRecord // values in blobs by key. They are read last: most have been overwritten by then

	// What was found:
	report   Report
	snapshot *fileInfo // the one that was read
	refs     []BlobID  // of the snapshot
	epochs   epochTable
	damaged  map[string]bool // files
	obsolete int             // segments whose records the snapshot has
	dropped  map[string]bool // segments of a truncated tail
	tails    []logOffset     // ends of segments that go on with a truncated tail
	cut      *logOffset      // end of the log, if bytes after it do not count
	end      recordID        // the newest record that was read
	named    uint64          // the seq in the shard's manifest
	left     []*foundRecord  // records that were held back to the end
}

// logOffset is a place in the log.
type logOffset struct {
	segment int // index in listing.segments
	at      int64
}

func newReplay(r *Reader, h Handler, limit uint64) *replay {
	return &replay{Reader: r, handler: h, limit: limit, expected: 1, pending: map[string]*foundRecord{}, damaged: map[string]bool{}, dropped: map[string]bool{}}
}

// run reads everything but the blobs.
func (r *replay) run() error {
	r.suffix.covers(r.listing.commit)
	if err := r.readSnapshot(); err != nil {
		return err
	}
	segments := r.listing.segments
	var err error
	if r.lineage, err = r.readLineage(r.epochs, r.expected-1); err != nil {
		return err
	}
	r.obsolete = r.lineage.obsolete(r.expected - 1)
	for i := r.obsolete; i < len(segments) && r.cut == nil; i++ {
		if err := r.readSegment(i); err != nil {
			return err
		}
	}
	if r.cut != nil && r.report.TornFile == "" {
		r.markTorn(*r.cut)
	}
	r.end = r.reached()
	r.report.Commit = min(r.suffix.commit, r.end.seq)
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
				r.gap, r.prefix = false, newPrefix(Point{info.epoch, info.seq}, r.damaged[info.name])
				r.suffix.covers(info.seq)
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
		if whole && !flawed("noFooter") {
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
		r.report.Time = max(r.report.Time, rec.Time())
		r.apply(rec, &foundRecord{file: f.name, at: at})
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
			if d.key != nil {
				r.remove(d.key)
			}
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
		r.epochs = h.epochs.rising()
	}
}

// apply does what a record says. For a payload in a blob it keeps b.
func (r *replay) apply(rec *Record, b *foundRecord) {
	r.report.Records++
	r.handler.Observe(rec)
	switch rec.Type {
	case Put:
		if rec.Blob != 0 {
			r.handler.Delete(rec.Key)
			r.pending[string(rec.Key)] = b.keep(rec)
			return
		}
		delete(r.pending, string(rec.Key))
		if err := r.handler.Put(rec, readInline(rec)); err != nil && err != ErrSkip {
			b.Record = *rec
			b.Key = bytes.Clone(rec.Key)
			r.lost(b, b.damage(err))
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

// lost reports that the payload of a record is damaged. Its key has no value then.
func (r *replay) lost(f *foundRecord, d Damage) {
	r.damage(d)
	r.remove(f.Key)
	r.prefix.lostAt(f.Seq, r.epochs)
}

// readInline returns a function that reads the payload of a record that has it.
func readInline(rec *Record) func(dst []byte) error {
	var payload []byte
	if len(rec.Payload) > 0 {
		payload = rec.Payload[0]
	}
	return func(dst []byte) error {
		if len(dst) > len(payload) {
			return io.ErrUnexpectedEOF
		}
		payload = payload[copy(dst, payload):]
		return nil
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
		r.damage(Damage{File: m.file, What: m.missing(&r.listing, r.reached())})
	}
	r.report.Given, r.report.Epoch = max(r.report.Given, m.seq), max(r.report.Epoch, m.epoch)
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
