package persistence

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"slices"
	"strconv"
	"sync"

	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence/vfs"
)

// maxMarks is the longest MARKS that is read.
const maxMarks = 4 << 20 // bytes

// recordID places a record in the history of its shard.
type recordID struct{ epoch, seq uint64 }

// before reports whether a precedes b.
func (a recordID) before(b recordID) bool {
	return a.epoch < b.epoch || a.epoch == b.epoch && a.seq < b.seq
}

func (a recordID) later(b recordID) recordID {
	if a.before(b) {
		return b
	}
	return a
}

// mark is a record that a shard's files must reach, and the file that had it.
type mark struct {
	recordID
	file string
}

// missing says which records before the mark are missing, and what is left of their file.
func (m mark) missing(l *listing, reached recordID) string {
	state := "the file is missing"
	for _, f := range slices.Concat(l.segments, l.snapshots) {
		if f.name == m.file {
			state = fmt.Sprintf("the file ends too early, or is an older copy: it has %d bytes", f.bytes)
		}
	}
	return fmt.Sprintf("the records after %d-%d are missing, up to %d-%d at least: %s", reached.epoch, reached.seq, m.epoch, m.seq, state)
}

// marks are the content of MARKS: one mark per shard. They reveal that a whole file or folder is
// missing, or that it was put back from an older copy.
//
// Invariant: a mark stays true. It is taken after the sync or the snapshot that made its record
// survive a loss of power, MARKS is replaced as a whole, no start uses a seq twice, and a mark of a
// record is lowered before that is truncated. It is
// written when a log continues in another file, now and then, and at a clean stop.
type marks struct {
	fs       vfs.FS
	dir      string
	expected []mark // of the last start; set by load

	mu      sync.Mutex // guards written
	written []mark     // as they are on disk; a slice is never changed
}

func (m *marks) path() string { return path.Join(m.dir, marksName) }

// load reads the marks of the last start. Older programs wrote none. Damaged marks say nothing;
// they are reported.
func (m *marks) load(cluster uuid.UUID, shards int) (damage []Damage, err error) {
	m.written = make([]mark, shards)
	m.expected = m.written
	lines, err := readLines(m.fs, m.path(), "marks", maxMarks)
	if err == nil {
		err = m.parse(lines, cluster)
	}
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return nil, nil
	case errors.Is(err, errManifest):
		clear(m.written)
		return []Damage{{File: m.path(), What: err.Error()}}, nil
	}
	return nil, err
}

func (m *marks) parse(lines map[string]string, cluster uuid.UUID) error {
	if lines["cluster"] != cluster.String() {
		return fmt.Errorf("%w: %s belongs to cluster %.64q", errManifest, marksName, lines["cluster"])
	}
	for id := range m.written {
		text, ok := lines[markLine(id)]
		if !ok {
			continue
		}
		mark := &m.written[id]
		if n, err := fmt.Sscanf(text, "%d %d %s", &mark.epoch, &mark.seq, &mark.file); n != 3 || err != nil || !isRecordFile(mark.file) {
			return fmt.Errorf("%w: %s has the line %.64q for shard %d", errManifest, marksName, text, id)
		}
	}
	return nil
}

func markLine(shard int) string { return fmt.Sprintf("%05d", shard) }

// next returns the marks of now, and whether to write them: if a record is in a file that the marks
// do not name or, with all, if there is any new record. The caller holds mu.
func (m *marks) next(logs []*Log, all bool) (next []mark, due bool) {
	next = make([]mark, len(m.written))
	for i, l := range logs {
		next[i] = m.written[i]
		if now := l.durableMark(); now.file != "" && next[i].before(now.recordID) {
			due = due || all || next[i].file != now.file
			next[i] = now
		}
	}
	return next, due
}

func encodeMarks(cluster uuid.UUID, marks []mark) []byte {
	lines := []line{{"ndring", "marks"}, {"format", strconv.Itoa(formatVersion)}, {"cluster", cluster.String()}}
	for id, m := range marks {
		if m.file != "" {
			lines = append(lines, line{markLine(id), fmt.Sprintf("%d %d %s", m.epoch, m.seq, m.file)})
		}
	}
	return encodeLines(lines)
}

// WriteMarks writes down which records are durable, if a log has continued in another file since;
// with all, if there is any new one.
func (d *Disk) WriteMarks(all bool) error {
	m := &d.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	next, due := m.next(d.logs, all)
	if !due {
		return nil
	}
	if err := vfs.WriteFile(d.fs, m.path(), encodeMarks(d.identity.Cluster(), next)); err != nil {
		return fmt.Errorf("cannot write %s: %w", marksName, err)
	}
	m.written = next
	return nil
}

// lowerMark takes back a mark of a record that is about to be removed from a log that will end with
// another one. When it returns, that is durable.
func (d *Disk) lowerMark(shard int, end recordID) error {
	m := &d.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	if !end.before(m.written[shard].recordID) && m.written[shard].seq <= end.seq {
		return nil
	}
	next := slices.Clone(m.written)
	if next[shard] = d.logs[shard].durableMark(); next[shard].file == "" || end.before(next[shard].recordID) || next[shard].seq > end.seq {
		next[shard] = mark{}
	}
	if err := vfs.WriteFile(d.fs, m.path(), encodeMarks(d.identity.Cluster(), next)); err != nil {
		return fmt.Errorf("cannot write %s: %w", marksName, err)
	}
	m.written = next
	return nil
}

// durableMark returns what of the log survives a loss of power now.
func (l *Log) durableMark() mark {
	if !l.ready.Load() {
		return mark{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return mark{l.durable, l.files.holding(l.durable.seq)}
}
