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

// replay is one reading of all files of a shard.
type replay struct {
	*Log
	handler Handler
	limit   uint64 // seq from which nothing is read
	report  Report

	snapshot *foundFile          // that was read
	refs     []BlobID            // of the snapshot
	pending  map[string]*waiting // values in blobs, which are read at the end: most are overwritten before
	damaged  map[string]bool     // files
	obsolete int                 // segments that the snapshot replaces
	cut      *place              // behind which nothing counts
	expected uint64              // seq of the next record
	gap      bool                // damage has been reported that explains a gap
	end      recordID            // the newest one that was read
	named    uint64              // the seq in the manifest
}

// place is where a unit of the log begins.
type place struct {
	segment int
	at      int64
}

// waiting is a record whose payload lies in a blob.
type waiting struct {
	Record
	unit    uint64 // seq of the batch that it is a part of, or its own
	fromLog bool
	file    string
	at      int64
}

// Recover reads the shard back and gives it to h. It must be called once, before anything else; the report tells what was found. An error means that the
// files could not be read, and nothing has been changed.
//
// When there is damage, the caller must write a snapshot: it takes the place of the damaged files, which go to the quarantine.
func (l *Log) Recover(h Handler) (*Report, error) {
	if !l.found.there {
		report := l.missingFolder()
		l.last = recordID{report.Epoch, report.Seq}
		l.ready.Store(true)
		return report, nil
	}
	defer func() { l.found = files{} }()
	r, err := l.read(h)
	if err != nil {
		return nil, err
	}
	if err := r.settle(); err != nil {
		return nil, fmt.Errorf("cannot clear up after the recovery: %w", err)
	}
	l.ready.Store(true)
	return &r.report, nil
}

// read replays the files, and changes none of them.
func (l *Log) read(h Handler) (*replay, error) {
	for limit := uint64(math.MaxUint64); ; h.Reset() {
		r := &replay{Log: l, handler: h, limit: limit, pending: map[string]*waiting{}, damaged: map[string]bool{}}
		before := l.disk.loaded.Load()
		err := r.run()
		if err != nil {
			return nil, err
		}
		missing, err := r.readBlobs()
		if err != nil {
			return nil, err
		}
		if missing == nil {
			l.disk.loaded.Store(before + l.toRecover())
			return r, nil
		}
		limit = missing.unit // after a loss of power: the value was never synced, so the log counts up to there
		l.disk.loaded.Store(before)
	}
}

func (r *replay) run() error {
	r.epochs = nil // an earlier attempt may have read more than counts
	if err := r.readSnapshot(); err != nil {
		return err
	}
	segments := r.found.segments
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
	r.end = r.reached()
	r.checkMark()
	return r.checkManifest()
}

func (r *replay) damage(d Damage) {
	r.damaged[d.File] = true
	d.File = r.path(d.File)
	r.report.Damage = append(r.report.Damage, d)
	r.gap = true
	if d.Key != nil {
		r.forget(d.Key)
	}
}

// forget takes a key away whose value is lost: what came before it is not its value either.
func (r *replay) forget(key []byte) {
	delete(r.pending, string(key))
	r.handler.Delete(key)
}

// readSnapshot reads the newest snapshot that has a footer. If there is none, it takes what it can from the newest one.
func (r *replay) readSnapshot() error {
	r.expected = 1
	for _, whole := range []bool{true, false} {
		for i := range r.found.snapshots {
			info := &r.found.snapshots[i]
			read, err := r.trySnapshot(info, whole)
			if err != nil {
				return err
			}
			if read {
				r.snapshot = info
				r.expected, r.report.Seq, r.report.Epoch = info.seq+1, info.seq, info.epoch
				r.gap = false
				return nil
			}
		}
	}
	return nil
}

// trySnapshot reads a snapshot unless it has no footer, which then must be there.
func (r *replay) trySnapshot(info *foundFile, whole bool) (read bool, err error) {
	f, err := r.disk.fs.Open(r.path(info.name))
	if err != nil {
		return false, err
	}
	defer f.Close()
	h, err := readHeader(f, snapshotMagic, r.disk.node.cluster, r.shard)
	if err == nil && (h.epoch != info.epoch || h.seq != info.seq) {
		err = fmt.Errorf("%w: it is the one of %s", errNoHeader, snapshotName(h.epoch, h.seq))
	}
	if errors.Is(err, errNoHeader) {
		if whole {
			r.damage(Damage{File: info.name, Bytes: info.bytes, What: err.Error()})
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	end := info.bytes - footerBytes
	foot, err := readFooter(f, info.bytes, h.seed())
	if errors.Is(err, errNoFooter) {
		if whole {
			r.damage(Damage{File: info.name, Offset: max(end, 0), Bytes: min(footerBytes, info.bytes), What: err.Error()})
			return false, nil
		}
		end = info.bytes
	} else if err != nil {
		return false, err
	}
	r.learnEpochs(h)
	found := footer{}
	scan := newScanner(f, h.seed(), h.bytes(), end)
	err = r.scan(scan, info.name, func(rec *Record, at int64) error {
		found.add(scan, at)
		r.apply(rec, &waiting{file: info.name, at: at})
		if rec.Blob != 0 {
			r.refs = append(r.refs, rec.Blob)
		}
		return nil
	}, func(d *damagedError, at int64) (bool, error) {
		if err := scan.resync(max(d.next, at+1)); err != nil {
			return false, err
		}
		if end < info.bytes || scan.at < end { // else it is the footer that is missing, which has been said
			r.damage(Damage{info.name, at, scan.at - at, d.key, d.what})
		}
		return true, nil
	})
	if differs := foot.compare(&found); err == nil && differs != nil && !r.damaged[info.name] {
		r.damage(Damage{File: info.name, Bytes: info.bytes, What: differs.Error()})
	}
	return err == nil, err
}

// learnEpochs takes over a file's table, unless that of a later one is known.
func (r *replay) learnEpochs(h *fileHeader) {
	if lastEpoch(h.epochs) >= lastEpoch(r.epochs) {
		r.epochs = h.epochs
	}
}

// scan gives the records of a file to each, and what is none to bad, which says whether to go on.
func (r *replay) scan(s *scanner, file string, each func(*Record, int64) error, bad func(*damagedError, int64) (bool, error)) error {
	for {
		at := s.at
		rec, n, err := s.next()
		d := (*damagedError)(nil)
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &d):
			if goOn, err := bad(d, s.at); !goOn || err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("reading %s at %d: %w", r.path(file), at, err)
		default:
			r.disk.loaded.Add(n)
			if err := each(rec, s.at-n); err != nil {
				if err == errEnough {
					return nil
				}
				return err
			}
		}
	}
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// readSegment reads one file of the log.
func (r *replay) readSegment(i int) error {
	info, last := r.found.segments[i], i+1 == len(r.found.segments)
	f, err := r.disk.fs.Open(r.path(info.name))
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := readHeader(f, segmentMagic, r.disk.node.cluster, r.shard)
	if err == nil && h.seq != info.seq {
		err = fmt.Errorf("%w: it is the one of %s", errNoHeader, segmentName(h.seq))
	}
	if errors.Is(err, errNoHeader) {
		lacks := r.mayLack(max(info.seq, r.expected))                        // what the snapshot has need not have come to the disk as a log
		if last && (lacks || info.bytes < fixedHeader && !r.disk.wasClean) { // it had just been made
			r.tear(i, 0, info.bytes)
			return nil
		}
		if lacks {
			r.cut = &place{i, 0}
			return nil
		}
		r.damage(Damage{File: info.name, Bytes: info.bytes, What: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	if info.seq > r.expected && !r.missing(i, 0, info.seq) {
		return nil
	}
	r.learnEpochs(h)
	scan := newScanner(f, h.seed(), h.bytes(), info.bytes)
	return r.scan(scan, info.name, func(rec *Record, at int64) error {
		unit, unitAt := rec.Seq, at
		if scan.batchAt > 0 && at < scan.batchEnd {
			unit, unitAt = scan.batchSeq, scan.batchAt
		}
		switch {
		case unit >= r.limit:
			r.cut = &place{i, unitAt}
			return errEnough
		case rec.Seq < r.expected: // the snapshot has it
			r.epochs = noteEpoch(r.epochs, rec.Epoch, rec.Seq)
			return nil
		case rec.Seq > r.expected && !r.missing(i, unitAt, rec.Seq):
			return errEnough
		}
		r.epochs = noteEpoch(r.epochs, rec.Epoch, rec.Seq) // epochs rise within a file, too
		r.expected, r.gap = rec.Seq+1, false
		r.report.Seq, r.report.Epoch = rec.Seq, max(r.report.Epoch, rec.Epoch)
		r.report.Logged++
		r.apply(rec, &waiting{unit: unit, fromLog: true, file: info.name, at: at})
		return nil
	}, func(d *damagedError, at int64) (bool, error) {
		if r.mayLack(r.expected) {
			r.cut = &place{i, at}
			return false, nil
		}
		if err := scan.resync(max(d.next, at+1)); err != nil {
			return false, err
		}
		if last && scan.at >= scan.end && !r.disk.wasClean {
			r.tear(i, at, info.bytes-at)
			return false, nil
		}
		r.damage(Damage{info.name, at, scan.at - at, d.key, d.what})
		return true, nil
	})
}

// missing reports records that are not there, from the one expected on, and whether to go on with those behind them.
func (r *replay) missing(i int, at int64, seq uint64) bool {
	if r.mayLack(r.expected) {
		r.cut = &place{i, at}
		return false
	}
	if !r.gap {
		name := r.found.segments[i].name
		r.damage(Damage{File: name, Offset: at, What: fmt.Sprintf("the records from %d to %d are missing before this one", r.expected, seq-1)})
	}
	return true
}

// tear notes that the end of the log is a write that did not come to its end.
func (r *replay) tear(segment int, at, bytes int64) {
	r.cut = &place{segment, at}
	r.report.TornFile, r.report.TornAt, r.report.Torn = r.path(r.found.segments[segment].name), at, bytes
}

// apply does what a record says.
func (r *replay) apply(rec *Record, w *waiting) {
	r.report.Records++
	r.handler.Observe(rec)
	switch rec.Type {
	case Put:
		if rec.Blob != 0 {
			r.handler.Delete(rec.Key)
			w.Record = *rec
			w.Key, w.Meta = bytes.Clone(rec.Key), bytes.Clone(rec.Meta)
			r.pending[string(rec.Key)] = w
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
			r.damage(Damage{w.file, w.at, rec.size(), bytes.Clone(rec.Key), err.Error()})
		}
	case Delete:
		r.forget(rec.Key)
	case Expire:
		epoch, seq := rec.of()
		if p := r.pending[string(rec.Key)]; p == nil {
			r.handler.Expire(rec.Key, epoch, seq, rec.Expiry)
		} else if p.Epoch == epoch && p.Seq == seq {
			p.Expiry = rec.Expiry
		} else {
			r.forget(rec.Key)
		}
	case Flush:
		clear(r.pending)
		r.handler.Flush()
	}
}

// checkManifest compares with what must be there at least.
func (r *replay) checkManifest() error {
	lines, err := readLines(r.disk.fs, r.path(manifestName), "shard", maxManifest)
	if errors.Is(err, iofs.ErrNotExist) {
		if r.disk.wasClean && len(r.found.segments)+len(r.found.snapshots) > 0 {
			r.damage(Damage{File: manifestName, What: "the file is missing"})
		}
		return nil // it comes with the first sync
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
	case lines["cluster"] != r.disk.node.cluster.String() || lines["shard"] != strconv.Itoa(r.shard):
		r.damage(Damage{File: manifestName, What: fmt.Sprintf("it is the one of shard %s of cluster %s", lines["shard"], lines["cluster"])})
	case seq > r.report.Seq && r.limit == math.MaxUint64 && !r.gap:
		r.damage(Damage{File: manifestName, What: fmt.Sprintf("the records from %d to %d are missing", r.report.Seq+1, seq)})
	}
	r.named = seq
	r.report.Seq = max(r.report.Seq, seq) // no seq is given twice
	return nil
}
