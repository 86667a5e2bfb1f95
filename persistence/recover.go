package persistence

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ndring/ndring/persistence/vfs"
)

// Handler takes what a recovery finds. Keys come in the order of their records; a later call for a key undoes an earlier one.
type Handler interface {
	// Put gives a key a value, whose payload read copies, a piece at a time and in order, all of it. The record is valid during the call. An error
	// says that the payload makes no sense.
	Put(r *Record, read func(dst []byte) error) error
	// Delete takes a key away, if it is there.
	Delete(key []byte)
	// Expire changes the deadline of a key, if it is there; 0 for none.
	Expire(key []byte, at int64)
	// Flush takes all keys away.
	Flush()
}

// ErrSkip is returned by Handler.Put for a value that nobody wants any more.
var ErrSkip = errors.New("skip")

// Report is what a recovery found.
type Report struct {
	Records  int64 // that were applied
	Logged   int64 // of them, those that came from the log
	Epoch    uint64
	Seq      uint64 // of the last record
	TornFile string // whose end was cut, since a write had not come to its end; empty for none
	TornAt   int64
	Torn     int64 // bytes
	Lost     int64 // bytes behind the first hole after a loss of power, which went to the quarantine
	Damage   []Damage
}

// Damage is a part of a file that is not what was written.
type Damage struct {
	File   string
	Offset int64
	Bytes  int64
	Key    []byte // whose value is lost; nil if that is not known
	What   string
}

func (d Damage) String() string {
	s := fmt.Sprintf("%s at %d, %d bytes: %s", d.File, d.Offset, d.Bytes, d.What)
	if d.Key != nil {
		s += fmt.Sprintf("; the value of key %.128q is lost", d.Key)
	}
	return s
}

// files are those of a shard, as a start finds them.
type files struct {
	there     bool
	segments  []foundFile // by their first seq
	snapshots []foundFile // the newest first
	blobs     map[BlobID]int64
	temps     []string
}

// foundFile is a file with what its name says.
type foundFile struct {
	name       string
	bytes      int64
	epoch, seq uint64
}

// list finds out what there is.
func (l *Log) list() error {
	l.found = files{blobs: map[BlobID]int64{}}
	all, err := l.disk.fs.List(l.dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l.found.there = true
	for _, f := range all {
		if seq, ok := parseSegmentName(f.Name); ok {
			l.found.segments = append(l.found.segments, foundFile{f.Name, f.Size, 0, seq})
		} else if epoch, seq, ok := parseSnapshotName(f.Name); ok {
			l.found.snapshots = append(l.found.snapshots, foundFile{f.Name, f.Size, epoch, seq})
		} else if strings.HasSuffix(f.Name, tempSuffix) {
			l.found.temps = append(l.found.temps, f.Name)
		}
	}
	slices.SortFunc(l.found.segments, func(a, b foundFile) int { return cmp.Compare(a.seq, b.seq) })
	slices.SortFunc(l.found.snapshots, func(a, b foundFile) int {
		return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(b.seq, a.seq))
	})
	blobs, err := l.disk.fs.List(path.Join(l.dir, blobsDir))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	for _, f := range blobs {
		if id, ok := parseBlobName(f.Name); ok {
			l.found.blobs[id] = f.Size
		} else if strings.HasSuffix(f.Name, tempSuffix) {
			l.found.temps = append(l.found.temps, path.Join(blobsDir, f.Name))
		}
	}
	return err
}

// toRecover returns about how many bytes a recovery reads.
func (l *Log) toRecover() (n int64) {
	if len(l.found.snapshots) > 0 {
		n += l.found.snapshots[0].bytes
	}
	for _, s := range l.found.segments {
		n += s.bytes
	}
	for _, bytes := range l.found.blobs {
		n += bytes
	}
	return n
}

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
		return &Report{}, nil
	}
	defer func() { l.found = files{} }()
	r, err := l.read(h)
	if err != nil {
		return nil, err
	}
	if err := r.settle(); err != nil {
		return nil, fmt.Errorf("cannot clear up after the recovery: %w", err)
	}
	return &r.report, nil
}

// read replays the files, and changes none of them.
func (l *Log) read(h Handler) (*replay, error) {
	for limit := uint64(math.MaxUint64); ; h.Flush() {
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
	r.epochs = h.epochs
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
	if err == nil && foot != nil && !r.damaged[info.name] && (found.count != foot.count || found.running != foot.running) {
		r.damage(Damage{File: info.name, Bytes: info.bytes, What: "the snapshot has other records than its footer says"})
	}
	return err == nil, err
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
		if last && (r.disk.powerLoss || info.bytes < fixedHeader && !r.disk.wasClean) { // it had just been made
			r.tear(i, 0, info.bytes)
			return nil
		}
		if r.disk.powerLoss {
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
	r.epochs = h.epochs
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
			return nil
		case rec.Seq > r.expected && !r.missing(i, unitAt, rec.Seq):
			return errEnough
		}
		r.expected, r.gap = rec.Seq+1, false
		r.report.Seq, r.report.Epoch = rec.Seq, rec.Epoch
		r.report.Logged++
		r.apply(rec, &waiting{unit: unit, fromLog: true, file: info.name, at: at})
		return nil
	}, func(d *damagedError, at int64) (bool, error) {
		if r.disk.powerLoss {
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
	if r.disk.powerLoss {
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
		if p := r.pending[string(rec.Key)]; p != nil {
			p.Expiry = rec.Expiry
			return
		}
		r.handler.Expire(rec.Key, rec.Expiry)
	case Flush:
		clear(r.pending)
		r.handler.Flush()
	}
}

// readBlobs reads the values that lie in files of their own. After a loss of power, it returns the first one in the log that was lost with it.
func (r *replay) readBlobs() (missing *waiting, err error) {
	for _, key := range slices.Sorted(maps.Keys(r.pending)) {
		w := r.pending[key]
		err := r.readBlob(w)
		d := (*damagedError)(nil)
		switch {
		case err == nil:
		case err == ErrSkip:
			r.forget(w.Key)
		case !errors.As(err, &d):
			return nil, err
		case r.disk.powerLoss && w.fromLog:
			if missing == nil || w.unit < missing.unit {
				missing = w
			}
		default:
			r.damage(Damage{path.Join(blobsDir, w.Blob.String()), 0, int64(w.Bytes), w.Key, d.what + ", to which " + w.file + " refers"})
		}
	}
	return missing, nil
}

func (r *replay) readBlob(w *waiting) error {
	f, err := r.disk.fs.Open(r.blobPath(w.Blob))
	if errors.Is(err, iofs.ErrNotExist) {
		return &damagedError{what: "the file is missing"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if uint64(size) != w.Bytes {
		return &damagedError{what: fmt.Sprintf("the file has %d bytes, not %d", size, w.Bytes)}
	}
	b := blobReader{f: f, size: size}
	if err := r.handler.Put(&w.Record, b.read); err != nil {
		if b.err != nil {
			return b.err
		}
		if err == ErrSkip {
			return err
		}
		return &damagedError{what: err.Error()}
	}
	if b.at != size || b.crc != w.CRC {
		r.handler.Delete(w.Key)
		return &damagedError{what: "the CRC32C of the file differs"}
	}
	r.disk.loaded.Add(size)
	return nil
}

// blobReader reads a blob from its beginning.
type blobReader struct {
	f        vfs.File
	at, size int64
	crc      uint32
	err      error // of the file system
}

func (b *blobReader) read(dst []byte) error {
	if int64(len(dst)) > b.size-b.at {
		return io.ErrUnexpectedEOF
	}
	for len(dst) > 0 {
		part := dst[:min(len(dst), scanChunk)]
		if n, err := b.f.ReadAt(part, b.at); n < len(part) {
			b.err = err
			return err
		}
		b.crc = crc32.Update(b.crc, castagnoli, part)
		b.at += int64(len(part))
		dst = dst[len(part):]
	}
	return nil
}

// checkManifest compares with what must be there at least.
func (r *replay) checkManifest() error {
	lines, err := readLines(r.disk.fs, r.path(manifestName), "shard")
	if errors.Is(err, iofs.ErrNotExist) {
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
	r.report.Seq = max(r.report.Seq, seq) // no seq is given twice
	return nil
}
