package persistence

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/ndring/ndring/persistence/vfs"
)

// marksName is a file beside the shards. For each of them it says up to which record its files must go at least, and in which of them that record is: so the loss
// of a whole file or folder shows, and so does an older copy of one.
//
// A mark only says what is true for good. It is taken after the sync, or the snapshot, that made the record survive a loss of power, it is published whole, and
// no start gives a seq twice. It is written when a log goes on in another file, now and then, and at a clean stop.
const marksName = "MARKS"

// maxMarks is the longest such file that is read.
const maxMarks = 4 << 20 // bytes

// recordID is where a record stands in the history of its shard.
type recordID struct{ epoch, seq uint64 }

// before reports whether a comes earlier in a history than b.
func (a recordID) before(b recordID) bool {
	return a.epoch < b.epoch || a.epoch == b.epoch && a.seq < b.seq
}

func (a recordID) later(b recordID) recordID {
	if a.before(b) {
		return b
	}
	return a
}

// mark is what must be there of a shard at least.
type mark struct {
	recordID
	file string // that has the record
}

// loadMarks reads what an earlier start has written. A folder of a program that knew none has no marks. A damaged file says nothing, which is reported.
func (d *Disk) loadMarks() error {
	d.marks = make([]mark, d.node.shards)
	d.expected = d.marks
	lines, err := readLines(d.fs, path.Join(d.dir, marksName), "marks", maxMarks)
	if err == nil {
		err = d.parseMarks(lines)
	}
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return nil
	case errors.Is(err, errManifest):
		clear(d.marks)
		d.damage = append(d.damage, Damage{File: path.Join(d.dir, marksName), What: err.Error()})
		return nil
	}
	return err
}

// Damage returns what is damaged of the files that are of no shard.
func (d *Disk) Damage() []Damage { return d.damage }

func (d *Disk) parseMarks(lines map[string]string) error {
	if lines["cluster"] != d.node.cluster.String() {
		return fmt.Errorf("%w: %s is the one of cluster %.64q", errManifest, marksName, lines["cluster"])
	}
	for id := range d.marks {
		text, there := lines[markLine(id)]
		if !there {
			continue
		}
		m := &d.marks[id]
		if n, err := fmt.Sscanf(text, "%d %d %s", &m.epoch, &m.seq, &m.file); n != 3 || err != nil || !isRecordFile(m.file) {
			return fmt.Errorf("%w: %s says %.64q of shard %d", errManifest, marksName, text, id)
		}
	}
	return nil
}

func markLine(shard int) string { return fmt.Sprintf("%05d", shard) }

func isRecordFile(name string) bool {
	_, segment := parseSegmentName(name)
	_, _, snapshot := parseSnapshotName(name)
	return segment || snapshot
}

// mark returns what of the log survives a loss of power now.
func (l *Log) mark() mark {
	if !l.ready.Load() {
		return mark{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m := mark{recordID: l.durable}
	if l.snapshot != nil {
		m.file = l.snapshot.name
	}
	for _, s := range l.segments {
		if s.first <= l.durable.seq {
			m.file = s.name
		}
	}
	return m
}

// WriteMarks publishes what the shards have on disk for certain, if a record has come into a file that the marks do not name; with all, if any record has come.
func (d *Disk) WriteMarks(all bool) error {
	d.marking.Lock()
	defer d.marking.Unlock()
	next, due := d.nextMarks(all)
	if !due {
		return nil
	}
	if err := vfs.WriteFile(d.fs, path.Join(d.dir, marksName), d.encodeMarks(next)); err != nil {
		return fmt.Errorf("cannot note what is on disk: %w", err)
	}
	d.marks = next
	return nil
}

// nextMarks returns the marks of now, and whether it is time to write them. Marking is held.
func (d *Disk) nextMarks(all bool) (next []mark, due bool) {
	next = make([]mark, len(d.marks))
	for i, l := range d.logs {
		next[i] = d.marks[i]
		if now := l.mark(); now.file != "" && next[i].before(now.recordID) {
			due = due || all || next[i].file != now.file
			next[i] = now
		}
	}
	return next, due
}

func (d *Disk) encodeMarks(marks []mark) []byte {
	lines := []line{{"ndring", "marks"}, {"format", strconv.Itoa(formatVersion)}, {"cluster", d.Cluster().String()}}
	for id, m := range marks {
		if m.file != "" {
			lines = append(lines, line{markLine(id), fmt.Sprintf("%d %d %s", m.epoch, m.seq, m.file)})
		}
	}
	return encodeLines(lines)
}

// mayLack reports whether a record, and what comes behind it, may be missing without damage: power was lost, and no mark says that the record survived that.
func (r *replay) mayLack(seq uint64) bool {
	return r.disk.powerLoss && seq > r.disk.expected[r.shard].seq
}

// checkMark compares what was found with the mark, and takes over its seq: none is given twice.
func (r *replay) checkMark() {
	m := r.disk.expected[r.shard]
	if !r.reached().before(m.recordID) {
		return
	}
	if !r.gap { // otherwise the damage at the end has been reported
		r.damage(Damage{File: m.file, What: r.missingBehind(m)})
	}
	r.report.Seq, r.report.Epoch = max(r.report.Seq, m.seq), max(r.report.Epoch, m.epoch)
}

// reached returns the newest record that was read.
func (r *replay) reached() recordID { return recordID{r.report.Epoch, r.report.Seq} }

// missingBehind says what is missing, and what of it can be seen.
func (r *replay) missingBehind(m mark) string {
	state := "the file is missing"
	for _, f := range slices.Concat(r.found.segments, r.found.snapshots) {
		if f.name == m.file {
			state = fmt.Sprintf("the file ends too early, or is an older copy: it has %d bytes", f.bytes)
		}
	}
	return fmt.Sprintf("the records behind %d-%d are missing, up to %d-%d at least: %s", r.report.Epoch, r.report.Seq, m.epoch, m.seq, state)
}

// missingFolder is the report on a shard without a folder.
func (l *Log) missingFolder() *Report {
	m := l.disk.expected[l.shard]
	if m.file == "" {
		return &Report{}
	}
	what := fmt.Sprintf("the folder is missing, with the records up to %d-%d", m.epoch, m.seq)
	return &Report{Seq: m.seq, Epoch: m.epoch, Damage: []Damage{{File: l.dir, What: what}}}
}
