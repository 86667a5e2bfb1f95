package persistence

import "bytes"

// foundRecord is a record and where a replay has read it.
type foundRecord struct {
	Record
	unit    uint64 // seq of its batch, or its own: a batch counts as a whole
	fromLog bool
	file    string // that has the record
	at      int64

	// lost says that the record is damaged: of it only the key is known. When it counts, the key's
	// value goes.
	lost bool
}

// keep makes the record outlive the scanner's next step.
func (f *foundRecord) keep(r *Record) *foundRecord {
	f.Record = *r
	f.Key, f.Meta = bytes.Clone(r.Key), bytes.Clone(r.Meta)
	if len(r.Payload) > 0 {
		f.Payload = [][]byte{bytes.Clone(r.Payload[0])}
	}
	return f
}

// damage describes a payload that a handler found to be damaged.
func (f *foundRecord) damage(err error) Damage {
	return Damage{f.file, f.at, f.size(), f.Key, err.Error()}
}

// suffix holds back the records of a log that no commit index read so far covers. Their effect must
// not be visible: a primary that never learned of them may have been followed, and what it decided
// then stands.
//
// Invariant: held rises by seq, and commit is below the first one.
type suffix struct {
	commit uint64 // the greatest commit index of the snapshot and of the records so far
	held   []*foundRecord
}

// covers takes note of a commit index.
func (s *suffix) covers(commit uint64) { s.commit = max(s.commit, commit) }

// next takes the oldest record that the commit index covers; nil for none.
func (s *suffix) next() *foundRecord {
	if len(s.held) == 0 || s.held[0].Seq > s.commit {
		return nil
	}
	f := s.held[0]
	s.held[0], s.held = nil, s.held[1:]
	return f
}

// rest returns what is left at the end of the log, without the values that a later, damaged record
// has replaced, and the keys of such records.
func (s *suffix) rest() (left []*foundRecord, lost [][]byte) {
	replaced := map[string]int{} // by key: where the newest damaged record of the key is
	for i, f := range s.held {
		if f.lost {
			replaced[string(f.Key)] = i
			lost = append(lost, f.Key)
		}
	}
	for i, f := range s.held {
		if at, ok := replaced[string(f.Key)]; !f.lost && (!ok || i > at) {
			left = append(left, f)
		}
	}
	return left, lost
}
