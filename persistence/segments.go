package persistence

import (
	"errors"
	iofs "io/fs"
	"slices"

	"github.com/ndring/ndring/persistence/vfs"
)

// segment is one file of a log.
type segment struct {
	name    string
	first   uint64 // seq
	bytes   int64
	synced  int64    // of these
	file    vfs.File // nil once it is complete and synced
	damaged bool
}

// close closes the file of a segment that is complete and synced, or about to be removed.
func (s *segment) close() {
	if s.file != nil {
		_ = s.file.Close() // no data can be lost
		s.file = nil
	}
}

// snapshotFile is the snapshot that a log has.
type snapshotFile struct {
	name       string
	epoch, seq uint64
	bytes      int64
	blobs      []BlobID
	damaged    bool
}

// recordFiles are the segments and the snapshot of a log. Log.mu guards them.
//
// Invariant: segments rise by their first seq, and only the last one is appended to.
type recordFiles struct {
	segments      []*segment
	open          bool          // the newest segment may get more records
	snapshot      *snapshotFile // nil for none
	segmentBytes  gauge
	snapshotBytes gauge
}

func (f *recordFiles) newest() *segment {
	if len(f.segments) == 0 {
		return nil
	}
	return f.segments[len(f.segments)-1]
}

// push adds a segment. It replaces one of the same name that a failed attempt has left without a
// record.
func (f *recordFiles) push(s *segment) {
	if n := len(f.segments); n > 0 && f.segments[n-1].name == s.name {
		f.segmentBytes.add(-f.segments[n-1].bytes)
		f.segments = f.segments[: n-1 : n-1]
	}
	f.segments = append(f.segments, s)
	f.segmentBytes.add(s.bytes)
}

// remove removes a segment, and reports whether it was there.
func (f *recordFiles) remove(s *segment) bool {
	i := slices.Index(f.segments, s)
	if i < 0 {
		return false
	}
	f.segments = append(f.segments[:i:i], f.segments[i+1:]...)
	f.segmentBytes.add(-s.bytes)
	return true
}

// before returns the segments that have no record after seq. That is certain of a segment only once
// there is a later one, or if last, the newest record, is not after seq and no segment is open for
// more records.
func (f *recordFiles) before(seq, last uint64) []*segment {
	n := 0
	for n+1 < len(f.segments) && f.segments[n+1].first <= seq+1 {
		n++
	}
	if n+1 == len(f.segments) && last <= seq && !f.open {
		n++
	}
	return f.segments[:n:n]
}

// with returns the segment that has a record, if any has; nil if it precedes all segments.
func (f *recordFiles) with(seq uint64) *segment {
	for i := len(f.segments) - 1; i >= 0; i-- {
		if f.segments[i].first <= seq {
			return f.segments[i]
		}
	}
	return nil
}

// holding returns the name of the file that has a record; empty for none.
func (f *recordFiles) holding(seq uint64) (name string) {
	if f.snapshot != nil {
		name = f.snapshot.name
	}
	if s := f.with(seq); s != nil {
		name = s.name
	}
	return name
}

// has reports whether a segment or the snapshot has a name.
func (f *recordFiles) has(name string) bool {
	return f.snapshot != nil && f.snapshot.name == name || slices.ContainsFunc(f.segments, func(s *segment) bool { return s.name == name })
}

// segmentWriter writes the newest segment. Only the goroutine that orders the shard's writes uses
// it.
//
// Invariant: size is where the next record goes; torn says that the file is longer, by what a
// failed write has left.
type segmentWriter struct {
	file    vfs.File // nil until the next record opens a segment
	size    int64
	torn    bool
	seed    uint32
	encoder recordEncoder
}

// create creates a segment and writes its header.
func (w *segmentWriter) create(f *folder, h *fileHeader) (*segment, error) {
	name := segmentName(h.seq)
	file, err := f.fs.Create(f.path(name))
	if errors.Is(err, iofs.ErrExist) { // a failed attempt left it: no record of this seq was ever written
		if err := f.fs.Remove(f.path(name)); err != nil {
			return nil, err
		}
		file, err = f.fs.Create(f.path(name))
	}
	if err != nil {
		return nil, err
	}
	b := h.encode()
	if err := file.WriteAt([][]byte{b}, 0); err != nil {
		return nil, errors.Join(err, file.Close(), f.fs.Remove(f.path(name)))
	}
	w.file, w.size, w.torn, w.seed = file, int64(len(b)), false, h.seed()
	return &segment{name: name, first: h.seq, bytes: w.size, file: file}, nil
}

// write writes batches, all or none of them, and returns their bytes.
func (w *segmentWriter) write(batches [][]Record) (int64, error) {
	if err := w.cutTorn(); err != nil {
		return 0, err
	}
	pieces, n := w.encoder.encode(batches, w.seed)
	err := w.file.WriteAt(pieces, w.size)
	clear(pieces)
	if err != nil {
		w.torn = w.file.Truncate(w.size) != nil
		return 0, err
	}
	w.size += n
	return n, nil
}

// cutTorn removes what a failed write has left. No record may follow it.
func (w *segmentWriter) cutTorn() error {
	if !w.torn {
		return nil
	}
	if err := w.file.Truncate(w.size); err != nil {
		return err
	}
	w.torn = false
	return nil
}

// rotate makes the next record open another segment. A sync closes the file.
func (w *segmentWriter) rotate() { w.file = nil }

// recordEncoder turns records into pieces of memory to write. It keeps its buffers from one call to
// the next.
type recordEncoder struct {
	heads  []byte
	starts []int // of each record in heads
	pieces [][]byte
}

const (
	smallPayload = 16 << 10 // bytes; up to here, copying a payload costs less than another piece
	maxHeads     = 64 << 10 // bytes that the encoder keeps for heads
)

// encode encodes batches. A batch of one record is written as that record, without a Batch before
// it. The pieces are valid until the next call.
func (e *recordEncoder) encode(batches [][]Record, seed uint32) (pieces [][]byte, bytes int64) {
	e.heads, e.starts, e.pieces = e.heads[:0], e.starts[:0], e.pieces[:0]
	from := 0 // what precedes it in heads is in pieces
	for _, records := range batches {
		if len(records) == 1 {
			from = e.one(&records[0], seed, from)
		} else {
			from = e.several(records, seed, from)
		}
	}
	if from < len(e.heads) {
		e.pieces = append(e.pieces, e.heads[from:])
	}
	pieces = e.pieces
	for _, p := range pieces {
		bytes += int64(len(p))
	}
	if cap(e.heads) > maxHeads {
		e.heads, e.starts = nil, nil // pieces still refer to them
	}
	return pieces, bytes
}

// one encodes a record and returns from where on heads are not in pieces yet.
func (e *recordEncoder) one(r *Record, seed uint32, from int) int {
	e.heads = r.appendHead(e.heads, seed)
	switch n := r.inline(); {
	case n == 0:
	case n <= smallPayload:
		for _, p := range r.Payload {
			e.heads = append(e.heads, p...)
		}
	default:
		e.pieces = append(append(e.pieces, e.heads[from:]), r.Payload...)
		from = len(e.heads)
	}
	return from
}

// several encodes a batch of several records and returns from where on heads are not in pieces yet.
func (e *recordEncoder) several(records []Record, seed uint32, from int) int {
	e.heads, e.starts = appendBatch(e.heads, e.starts[:0], records, seed)
	for i := range records {
		if records[i].inline() == 0 {
			continue
		}
		to := len(e.heads)
		if i+1 < len(records) {
			to = e.starts[i+1]
		}
		e.pieces = append(append(e.pieces, e.heads[from:to]), records[i].Payload...)
		from = to
	}
	return from
}
