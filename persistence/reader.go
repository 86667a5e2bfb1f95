package persistence

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"sync/atomic"

	"github.com/ndring/ndring/persistence/vfs"
)

// Reader reads the files of one shard and changes none of them.
type Reader struct {
	fs        vfs.FS
	dir       string // of the shard
	shard     int
	identity  *Identity
	policy    policy
	mark      mark
	listing   listing
	recovered *atomic.Int64 // bytes
}

// Read gives h what a recovery would.
func (r *Reader) Read(h Handler) (*Report, error) {
	if !r.listing.exists {
		return r.missingFolder(), nil
	}
	found, err := r.replay(h)
	if err != nil {
		return nil, err
	}
	return &found.report, nil
}

// Contents are the files of a shard.
type Contents struct {
	Segments, Snapshots, Blobs, Quarantined int
	Bytes                                   int64 // of all but the quarantine
}

// Contents returns what there was when the folder was opened.
func (r *Reader) Contents() (c Contents, err error) {
	found := &r.listing
	c.Segments, c.Snapshots, c.Blobs = len(found.segments), len(found.snapshots), len(found.blobs)
	for _, s := range found.segments {
		c.Bytes += s.bytes
	}
	for _, s := range found.snapshots {
		c.Bytes += s.bytes
	}
	for _, bytes := range found.blobs {
		c.Bytes += bytes
	}
	away, err := r.fs.List(r.path(quarantineName))
	c.Quarantined = len(away)
	if !found.exists || err != nil && c.Quarantined == 0 {
		err = nil // there is no quarantine
	}
	return c, err
}

func (r *Reader) path(name string) string { return path.Join(r.dir, name) }

// replay reads all files and gives their records to h. After a loss of power it may find out late
// that a value is missing: then it starts over, and reads the log only up to there.
func (r *Reader) replay(h Handler) (*replay, error) {
	r.chooseBase()
	for limit := uint64(math.MaxUint64); ; h.Reset() {
		p := newReplay(r, h, limit)
		before := r.recovered.Load()
		if err := p.run(); err != nil {
			return nil, err
		}
		missing, err := p.readBlobs()
		if err == nil && missing == nil {
			missing, err = p.giveSuffix()
		}
		if err != nil {
			return nil, err
		}
		if missing == nil {
			p.report.Has = p.prefix.has
			r.recovered.Store(before + r.listing.toRecover())
			return p, nil
		}
		limit = missing.unit
		r.recovered.Store(before)
	}
}

// recordFile is a segment or a snapshot that is being read.
type recordFile struct {
	*scanner
	name   string
	bytes  int64
	header *fileHeader
}

func (f *recordFile) close() { _ = f.f.Close() } // it was only read

// openSegment opens a segment to be read from its first record on. errNoHeader says that it is not
// what its name says.
func (r *Reader) openSegment(info fileInfo) (*recordFile, error) {
	return r.open(info, segmentMagic, func(h *fileHeader) error {
		if h.seq != info.seq {
			return fmt.Errorf("%w: it is the header of %s", errNoHeader, segmentName(h.seq))
		}
		return nil
	})
}

// openSnapshot opens a snapshot to be read from its first record on. errNoHeader says that it is
// not what its name says. The footer is still among the records.
func (r *Reader) openSnapshot(info fileInfo) (*recordFile, error) {
	return r.open(info, snapshotMagic, func(h *fileHeader) error {
		if h.epoch != info.epoch || h.seq != info.seq {
			return fmt.Errorf("%w: it is the header of %s", errNoHeader, snapshotName(h.epoch, h.seq))
		}
		return nil
	})
}

func (r *Reader) open(info fileInfo, magic string, matches func(*fileHeader) error) (*recordFile, error) {
	f, err := r.fs.Open(r.path(info.name))
	if err != nil {
		return nil, err
	}
	h, err := readHeader(f, magic, r.identity.Cluster(), r.shard)
	if err == nil {
		err = matches(h)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &recordFile{newScanner(f, h.seed(), h.bytes(), info.bytes), info.name, info.bytes, h}, nil
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// each calls onRecord with every record of a file and its offset, and onDamage where there is none;
// onDamage advances the scanner and returns whether to go on.
func (r *Reader) each(f *recordFile, onRecord func(*Record, int64) error, onDamage func(*damagedError, int64) (bool, error)) error {
	for {
		at := f.at
		rec, n, err := f.next()
		d := (*damagedError)(nil)
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &d):
			if goOn, err := onDamage(d, f.at); !goOn || err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("reading %s at %d: %w", r.path(f.name), at, err)
		default:
			r.recovered.Add(n)
			if err := onRecord(rec, f.at-n); err != nil {
				if err == errEnough {
					return nil
				}
				return err
			}
		}
	}
}

// missingFolder is the report on a shard without a folder.
func (r *Reader) missingFolder() *Report {
	m := r.mark
	if m.file == "" {
		return &Report{}
	}
	what := fmt.Sprintf("the folder is missing, with the records up to %d-%d", m.epoch, m.seq)
	return &Report{Given: m.seq, Epoch: m.epoch, Damage: []Damage{{File: r.dir, What: what}}}
}
