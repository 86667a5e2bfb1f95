package persistence

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

var (
	// ErrCompacted is returned when a log no longer has the records that a reader wants: a snapshot
	// has replaced them, or they are damaged.
	ErrCompacted = errors.New("the log no longer has these records")
	// ErrChanged is returned by a LogReader whose log was truncated or replaced.
	ErrChanged = errors.New("the log was truncated while it was read")
)

// LogReader reads the records of a running log in their order. The log keeps the files that the
// reader has yet to read until Close. Not safe for concurrent use.
type LogReader struct {
	log     *Log
	next    uint64 // seq of the next record; guarded by log.mu
	changes int    // of the log when the reader began
	file    *recordFile
	segment *segment // that file reads
}

// From returns a reader of the records from a seq on, which may be the one after the newest record.
// ErrCompacted says that a snapshot has replaced the first of them. The caller must Close the
// reader.
func (l *Log) From(seq uint64) (*LogReader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq = max(seq, 1)
	switch {
	case l.failed != nil:
		return nil, l.failed
	case seq > l.last.seq+1:
		return nil, fmt.Errorf("cannot read the log from %d on: it ends with %d", seq, l.last.seq)
	case seq <= l.last.seq && (len(l.files.segments) == 0 || l.files.segments[0].first > seq):
		return nil, fmt.Errorf("%w: from %d on", ErrCompacted, seq)
	}
	r := &LogReader{log: l, next: seq, changes: l.changes}
	l.readers = append(l.readers, r)
	return r, nil
}

// Next returns the next record, io.EOF at the present end of the log, behind which there may be
// records later, or ErrCompacted for a record that is in a snapshot alone, since a loss of power
// has taken it from the log. The record is valid until the next call. The payload of a record with
// a blob is not read.
func (r *LogReader) Next() (*Record, error) {
	for {
		s, end, err := r.position()
		if err != nil {
			return nil, err
		}
		if s != r.segment {
			if err := r.open(s, end); err != nil {
				return nil, err
			}
		}
		r.file.end = end
		record, _, err := r.file.next()
		switch {
		case err == io.EOF: // the segment has no later record, but the log has: records are missing
			return nil, fmt.Errorf("%w: %d is missing in %s", ErrCompacted, r.next, s.name)
		case err != nil:
			if _, _, changed := r.position(); changed != nil {
				return nil, changed
			}
			return nil, fmt.Errorf("reading %s at %d: %w", s.name, r.file.at, err)
		case record.Seq < r.next:
			continue
		case record.Seq > r.next:
			return nil, fmt.Errorf("%w: the records from %d to %d are missing", ErrCompacted, r.next, record.Seq-1)
		}
		r.log.mu.Lock()
		r.next++
		r.log.mu.Unlock()
		return record, nil
	}
}

// position returns the segment with the next record, and where its records end.
func (r *LogReader) position() (*segment, int64, error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failed != nil:
		return nil, 0, l.failed
	case l.changes != r.changes:
		return nil, 0, ErrChanged
	case r.next > l.last.seq:
		return nil, 0, io.EOF
	}
	s := l.files.with(r.next)
	if s == nil {
		return nil, 0, fmt.Errorf("%w: %d", ErrCompacted, r.next)
	}
	return s, s.bytes, nil
}

func (r *LogReader) open(s *segment, bytes int64) error {
	r.closeFile()
	f, err := r.log.reader.openSegment(fileInfo{name: s.name, bytes: bytes, seq: s.first})
	if err != nil {
		if _, _, changed := r.position(); changed != nil {
			return changed
		}
		return fmt.Errorf("reading %s: %w", s.name, err)
	}
	r.file, r.segment = f, s
	return nil
}

func (r *LogReader) closeFile() {
	if r.file != nil {
		r.file.close()
		r.file, r.segment = nil, nil
	}
}

// Close ends the reader and removes the files that the log has kept for it alone.
func (r *LogReader) Close() {
	r.closeFile()
	l := r.log
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	l.readers = slices.DeleteFunc(l.readers, func(other *LogReader) bool { return other == r })
	stopped := l.failed != nil
	l.mu.Unlock()
	if !stopped {
		removeObsolete(l)
	}
}

// removeObsolete removes the segments that have no record after the snapshot, but for those that a
// reader has yet to read. The caller holds syncing.
func removeObsolete(l *Log) {
	l.mu.Lock()
	var obsolete []*segment
	if l.files.snapshot != nil {
		seq := l.files.snapshot.seq
		for _, r := range l.readers {
			seq = min(seq, r.next-1)
		}
		obsolete = slices.Clone(l.files.before(seq, l.last.seq))
		for _, s := range obsolete {
			l.files.remove(s)
		}
	}
	l.mu.Unlock()
	for _, s := range obsolete {
		s.close()
		l.folder.retire(s.name, s.damaged)
	}
}
