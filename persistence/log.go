package persistence

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/internal/uuid"
)

// SegmentBytes is the size from which a log continues in another segment.
const SegmentBytes = 64 << 20

var (
	// ErrStopped is returned by a log that accepts no record because it does not know what the disk
	// holds. A restart finds out.
	ErrStopped = errors.New("the log has stopped")
	// ErrWrite is returned when a record could not be written. The log cuts off what is left of it
	// before it writes another.
	ErrWrite = errors.New("cannot write the log")
)

// Position is how far a log has been written. Positions are comparable within one run.
type Position int64

// Log is one shard on disk. It puts records in order and knows how far they are durable; its parts
// own the files.
type Log struct {
	shard  int
	disk   *Disk
	folder *folder
	blobs  *blobStore
	reader *Reader       // what a start finds
	writer segmentWriter // only the goroutine that orders the shard's writes uses it
	ready  atomic.Bool   // Recover has finished. Until then only it changes what is below

	publishing sync.Mutex // held while a snapshot, a truncation or an installation changes which files count; before syncing

	syncing  sync.Mutex // held while waiting for the disk; before mu
	manifest uint64     // the seq that the shard's manifest names; guarded by syncing

	mu      sync.Mutex // guards all below
	files   recordFiles
	epochs  epochTable
	written Position
	synced  Position // Invariant: synced <= written
	time    int64    // the greatest one in a NoOp, in Unix ms
	last    recordID // the newest record, or what a snapshot has in its place
	durable recordID // the newest record that survives a loss of power. Invariant: durable <= last
	commit  commitIndex
	vouched uint64       // the commit index in the shard's manifest, if no record says as much; else 0
	running []*Snapshot  // that are being written
	readers []*LogReader // that are open
	changes int          // counts what removes records other than by a snapshot, when it begins to change files and when it has
	failed  error        // why the log has stopped; nil if it has not
}

// commitIndex is what the files of a log say about the commit index of their shard. It never falls:
// what is committed is never truncated.
type commitIndex struct {
	written uint64 // the greatest one in a record or snapshot
	durable uint64 // the greatest one that survives a loss of power. A start shows at least the records up to it
}

// Append writes batches, all or none of them, with one call of the file system. The seqs of the
// records follow the last one. A batch of several records counts as a whole or not at all. The
// records survive the end of the process from now on, and the end of the machine after Sync of the
// position that it returns.
//
// Records without a Put free space, so on a full disk they may use the reserve.
func (l *Log) Append(batches ...[]Record) (end Position, err error) {
	for _, records := range batches {
		for i := range records {
			if records[i].Type == Put {
				return l.append(batches)
			}
		}
	}
	err = l.disk.reserve.use(func() error {
		end, err = l.append(batches)
		return err
	})
	return end, err
}

func (l *Log) append(batches [][]Record) (Position, error) {
	if err := l.Err(); err != nil {
		return 0, err
	}
	for _, records := range batches {
		for i := range records {
			if err := records[i].check(); err != nil {
				return 0, err
			}
		}
	}
	if l.writer.file == nil {
		if err := l.openSegment(batches[0][0].Epoch, batches[0][0].Seq); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrWrite, err)
		}
	}
	n, err := l.writer.write(batches)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrWrite, err)
	}
	l.disk.counters.written.Add(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files.newest().bytes = l.writer.size
	l.files.segmentBytes.add(n)
	l.written += Position(n)
	for _, records := range batches {
		l.appended(records)
	}
	if l.writer.size >= SegmentBytes {
		l.rotate()
	}
	return l.written, nil
}

// appended takes note of the records of a batch that was written. The caller holds mu.
func (l *Log) appended(records []Record) {
	for i := range records {
		r := &records[i]
		l.last = recordID{r.Epoch, r.Seq}
		l.commit.written = max(l.commit.written, r.Commit)
		l.epochs = l.epochs.extended(r.Epoch, r.Seq) // the next file's header has it
		l.time = max(l.time, r.Time())
		if r.Blob != 0 {
			l.blobs.setLive(r.Blob, r.CRC)
		}
	}
}

// openSegment creates the segment whose first record has that epoch and seq.
func (l *Log) openSegment(epoch, seq uint64) error {
	cluster, err := l.disk.identity.pin()
	if err != nil {
		return err
	}
	if err := l.folder.ensure(); err != nil {
		return err
	}
	l.mu.Lock()
	l.epochs = l.epochs.extended(epoch, seq)
	epochs := l.epochs
	l.mu.Unlock()
	s, err := l.writer.create(l.folder, l.disk.options.newHeader(segmentMagic, cluster, l.shard, epoch, seq, epochs))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.folder.fileCreated()
	l.files.push(s)
	l.files.open = true
	return nil
}

// Position returns the position of all that was written so far.
func (l *Log) Position() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

// Sizes returns the bytes of the segments, of dead blobs, and of all files.
func (l *Log) Sizes() (log, dead, all int64) {
	l.mu.Lock()
	log, all = l.files.segmentBytes.bytes, l.files.segmentBytes.bytes+l.files.snapshotBytes.bytes
	l.mu.Unlock()
	dead, blobs := l.blobs.sizes()
	return log, dead, all + blobs
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
		l.disk.options.Log.Error("log stopped: shard is read-only until restart", "shard", l.shard, "err", err)
	}
	return l.failed
}

// Stage writes a large payload to a blob for a record to refer to. It may be called at any time;
// Append of that record or Abandon must follow.
func (l *Log) Stage(payload [][]byte) (BlobID, error) { return stageBlob(l, payload, staged, 0) }

func stageBlob(l *Log, payload [][]byte, state blobState, pins int) (BlobID, error) {
	if err := l.Err(); err != nil {
		return 0, err
	}
	_, err := l.disk.identity.pin()
	if err == nil {
		var id BlobID
		if id, err = l.blobs.stage(payload, state, pins); err == nil {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%w: %w", ErrWrite, err)
}

// Abandon removes a staged blob that no record refers to after all.
func (l *Log) Abandon(id BlobID) { l.blobs.abandon(id) }

// Supersede says that the change with a seq, which is committed, has replaced the value in a blob.
// The file goes when what is synced says that this change is committed: until then a start may have
// to show the value.
func (l *Log) Supersede(id BlobID, seq uint64) { l.blobs.supersede(id, seq) }

// Rotate makes the next record open another segment, so that a snapshot of what precedes it makes
// the present one obsolete. The caller holds what orders the shard's writes.
func (l *Log) Rotate() error {
	if err := l.writer.cutTorn(); err != nil {
		return fmt.Errorf("%w: %w", ErrWrite, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rotate()
	return nil
}

// rotate closes the newest segment for records. The caller holds mu and what orders the writes.
func (l *Log) rotate() {
	l.writer.rotate()
	l.files.open = false
}

// End returns the place of the newest record, or of what a snapshot has in its place.
func (l *Log) End() Point {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Point{l.last.epoch, l.last.seq}
}

// Epochs returns where the epochs of the log begin, oldest first. The newest 256 are known.
func (l *Log) Epochs() []EpochStart {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.epochs)
}

// close closes all files. The log accepts no record from then on.
func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.files.segments {
		s.close()
	}
	l.blobs.close()
	l.writer.file = nil
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: it is closed", ErrStopped)
	}
}

// cutTorn removes what a failed write has left before a clean stop, after which it would pass for
// damage. A sync has to follow.
func cutTorn(l *Log) error {
	if !l.writer.torn || l.Err() != nil {
		return nil
	}
	if err := l.writer.cutTorn(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files.newest().synced = 0
	l.written++
	return nil
}

// finalManifest returns the shard's manifest with the last seq; nil if the one on disk has it.
func finalManifest(l *Log, cluster uuid.UUID) []byte {
	made := l.folder.state().made
	l.mu.Lock()
	defer l.mu.Unlock()
	if !made || l.last.seq == l.manifest {
		return nil
	}
	name := ""
	if l.files.snapshot != nil {
		name = l.files.snapshot.name
	}
	m := shardManifest{cluster: cluster, shard: l.shard, snapshot: name, seq: l.last.seq, commit: l.vouched}
	return m.encode()
}
