package persistence

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/persistence/vfs"
)

// SegmentBytes is the size from which a log goes on in another file.
const SegmentBytes = 64 << 20

var (
	// ErrStopped is returned by a log to which nothing can be written any more: what it holds on disk is not known. A restart finds out.
	ErrStopped = errors.New("the log has stopped")
	// ErrWrite is returned when a record could not be written. Nothing that follows it is written before its remains are cut off.
	ErrWrite = errors.New("cannot write the log")
)

// Position is how far a log has been written.
type Position int64

// Log is one shard on disk: its segments, its snapshot and its blobs.
type Log struct {
	disk  *Disk
	shard int
	dir   string
	found files       // by list; recovery takes it over
	ready atomic.Bool // the recovery has ended; before, nobody but it uses what follows, locked or not

	// Only the shard's writer uses these.
	file   vfs.File // that is written; nil before the next record comes
	size   int64    // of it
	uncut  bool     // it is longer: what a write that failed has left could not be cut off yet
	seed   uint32
	heads  []byte
	at     []int
	pieces [][]byte

	syncing  sync.Mutex // held by the one who waits for the disk; before mu
	manifest uint64     // the seq that the manifest names; who publishes a snapshot, and close, use it

	mu       sync.Mutex // guards all below
	epochs   []EpochStart
	segments []*segment // by their first seq
	snapshot *snapshotFile
	blobs    map[BlobID]*blob
	dying    []BlobID // dead, and waiting for the record that says so to be synced
	written  Position
	synced   Position
	last     recordID // the newest record, or what a snapshot says in its place
	durable  recordID // up to which a loss of power takes nothing. Invariant: durable <= last
	dirs     dirState
	failed   error
	bytes    sizes
}

// sizes are the bytes of a shard's files.
type sizes struct{ segments, snapshots, live, dead int64 }

func (s sizes) all() int64 { return s.segments + s.snapshots + s.live + s.dead }

type segment struct {
	name    string
	first   uint64 // seq
	bytes   int64
	synced  int64    // of them
	file    vfs.File // nil once it is whole and synced
	damaged bool
}

type snapshotFile struct {
	name       string
	epoch, seq uint64
	bytes      int64
	blobs      []BlobID
	damaged    bool
}

// dirState says which names are not synced yet.
type dirState struct {
	made, madeBlobs bool // the folders are there
	parent          bool // that of the shard's folder has to be synced
	names, blobs    bool // those within it have to be
	changes         int  // of the three, counted
}

func newLog(d *Disk, shard int) *Log {
	return &Log{disk: d, shard: shard, dir: shardDir(d.dir, shard), blobs: map[BlobID]*blob{}}
}

func (l *Log) path(name string) string { return path.Join(l.dir, name) }

// count changes what is known of the sizes of files. The lock is held.
func (l *Log) count(of *int64, n int64) {
	*of += n
	l.disk.bytes.Add(n)
}

// Sizes returns the bytes of the log, those of blobs that no value uses any more, and those of all files.
func (l *Log) Sizes() (log, dead, all int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes.segments, l.bytes.dead, l.bytes.all()
}

// Err returns why the log has stopped; nil if it has not.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// stop makes the log read-only.
func (l *Log) stop(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: %w", ErrStopped, err)
		l.disk.options.Log.Error("a shard's log has stopped, its values can only be read from now on", "shard", l.shard, "err", err)
	}
	return l.failed
}

// Append writes records, all or none of them. Their seqs must follow the last one's. They survive the end of the process now, and that of the
// machine after Sync of what is returned.
//
// What takes values away is written on a full disk, too, as long as there is something of what was kept back for that.
func (l *Log) Append(records []Record) (end Position, err error) {
	for i := range records {
		if records[i].Type == Put {
			return l.append(records)
		}
	}
	err = l.disk.withRoom(func() error {
		end, err = l.append(records)
		return err
	})
	return end, err
}

func (l *Log) append(records []Record) (Position, error) {
	if err := l.Err(); err != nil {
		return 0, err
	}
	for i := range records {
		if err := records[i].check(); err != nil {
			return 0, err
		}
	}
	if l.file == nil {
		if err := l.openSegment(&records[0]); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrWrite, err)
		}
	}
	if err := l.cut(); err != nil {
		return 0, err
	}
	n := l.encode(records)
	err := l.file.WriteAt(l.pieces, l.size)
	clear(l.pieces)
	if err != nil {
		l.uncut = l.file.Truncate(l.size) != nil // what was written of it must not be found
		return 0, fmt.Errorf("%w: %w", ErrWrite, err)
	}
	l.size += n
	l.disk.written.Add(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.segments[len(l.segments)-1]
	last.bytes = l.size
	l.count(&l.bytes.segments, n)
	l.written += Position(n)
	newest := &records[len(records)-1]
	l.last = recordID{newest.Epoch, newest.Seq}
	for i := range records {
		l.epochs = noteEpoch(l.epochs, records[i].Epoch, records[i].Seq) // the next file's header has it
		if id := records[i].Blob; id != 0 {
			b := l.blobs[id]
			if b.state == staged {
				l.disk.staged.Add(-b.bytes)
			}
			b.state, b.crc, b.known = live, records[i].CRC, true
		}
	}
	if l.size >= SegmentBytes {
		l.file = nil // Sync closes it
	}
	return l.written, nil
}

// cut cuts off what a write that failed has left. Before, nothing may follow it.
func (l *Log) cut() error {
	if !l.uncut {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return fmt.Errorf("%w: %w", ErrWrite, err)
	}
	l.uncut = false
	return nil
}

// encode makes pieces of records and returns their bytes.
func (l *Log) encode(records []Record) (bytes int64) {
	l.heads, l.at = l.heads[:0], l.at[:0]
	if len(records) == 1 {
		l.at = append(l.at, 0)
		l.heads = records[0].appendHead(l.heads, l.seed)
	} else {
		l.heads, l.at = appendBatch(l.heads, l.at, records, l.seed)
	}
	pieces, from := l.pieces[:0], 0
	for i := range records {
		if records[i].inline() == 0 {
			continue
		}
		to := len(l.heads)
		if i+1 < len(records) {
			to = l.at[i+1]
		}
		if len(records) == 1 && records[0].inline() <= smallPayload { // a copy costs less than another piece
			for _, p := range records[0].Payload {
				l.heads = append(l.heads, p...)
			}
			break
		}
		pieces = append(append(pieces, l.heads[from:to]), records[i].Payload...)
		from = to
	}
	if from < len(l.heads) {
		pieces = append(pieces, l.heads[from:])
	}
	for _, p := range pieces {
		bytes += int64(len(p))
	}
	if cap(l.heads) > maxHeads {
		l.heads, l.at = nil, nil // pieces still have them
	}
	l.pieces = pieces
	return bytes
}

// smallPayload is up to where a payload is copied behind its head.
const smallPayload = 16 << 10 // bytes

// maxHeads is how much memory a log keeps for the heads of records.
const maxHeads = 64 << 10

// openSegment makes the file in which first will be the first record.
func (l *Log) openSegment(first *Record) error {
	if err := l.makeDir(); err != nil {
		return err
	}
	l.mu.Lock()
	l.epochs = noteEpoch(l.epochs, first.Epoch, first.Seq)
	h := l.header(segmentMagic, first.Epoch, first.Seq)
	l.mu.Unlock()
	name := segmentName(first.Seq)
	f, err := l.disk.fs.Create(l.path(name))
	if errors.Is(err, iofs.ErrExist) { // of an attempt that failed: no record of this seq was ever written
		if err := l.disk.fs.Remove(l.path(name)); err != nil {
			return err
		}
		f, err = l.disk.fs.Create(l.path(name))
	}
	if err != nil {
		return err
	}
	b := h.encode()
	if err := f.WriteAt([][]byte{b}, 0); err != nil {
		return errors.Join(err, f.Close(), l.disk.fs.Remove(l.path(name)))
	}
	l.file, l.size, l.uncut, l.seed = f, int64(len(b)), false, h.seed()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirs.names = true
	l.dirs.changes++
	if n := len(l.segments); n > 0 && l.segments[n-1].name == name { // the attempt that failed
		l.count(&l.bytes.segments, -l.segments[n-1].bytes)
		l.segments = l.segments[: n-1 : n-1]
	}
	l.segments = append(l.segments, &segment{name: name, first: first.Seq, bytes: l.size, file: f})
	l.count(&l.bytes.segments, l.size)
	return nil
}

// header makes that of a file. The lock is held.
func (l *Log) header(magic string, epoch, seq uint64) *fileHeader {
	return &fileHeader{
		magic: magic, shard: uint32(l.shard), cluster: l.disk.node.cluster, epoch: epoch, seq: seq,
		time: l.disk.options.Now().UnixMilli(), salt: l.disk.random(), epochs: l.epochs[:len(l.epochs):len(l.epochs)],
	}
}

// makeDir makes the folder of the shard, which comes with its first record.
func (l *Log) makeDir() error {
	if err := l.disk.begin(); err != nil {
		return err
	}
	l.mu.Lock()
	made := l.dirs.made
	l.mu.Unlock()
	if made {
		return nil
	}
	if err := l.disk.fs.Mkdir(l.dir); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirs.made, l.dirs.parent = true, true
	l.dirs.changes++
	return nil
}

// encodeManifest says what must be there at least: a snapshot, and the records up to a seq.
func (l *Log) encodeManifest(snapshot string, seq uint64) []byte {
	return encodeLines([]line{
		{"ndring", "shard"}, {"format", strconv.Itoa(formatVersion)}, {"cluster", l.disk.node.cluster.String()}, {"shard", strconv.Itoa(l.shard)},
		{"snapshot", snapshot}, {"seq", strconv.FormatUint(seq, 10)},
	})
}

// close ends the use of the log.
func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		s.close()
	}
	for _, b := range l.blobs {
		b.close()
	}
	l.file = nil
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: it is closed", ErrStopped)
	}
}

// end returns the manifest that names the last seq; nil if there is nothing new to say.
func (l *Log) end() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dirs.made || l.last.seq == l.manifest {
		return nil
	}
	name := "-"
	if l.snapshot != nil {
		name = l.snapshot.name
	}
	return l.encodeManifest(name, l.last.seq)
}

// Position returns the position of all that was written so far.
func (l *Log) Position() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}
