package persistence

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/ndring/ndring/persistence/vfs"
)

// Inspect opens the folder of a node that does not run, to read it. Nothing of it can be changed.
func Inspect(fs vfs.FS, dir, bootID string) (*Disk, error) {
	m, err := readNodeManifest(fs, dir)
	if err != nil {
		return nil, err
	}
	d := &Disk{fs: fs, dir: dir, node: m, options: Options{Shards: m.shards, BootID: bootID, Log: slog.New(slog.DiscardHandler), Now: time.Now}}
	if d.lock, err = fs.Lock(path.Join(dir, lockName)); err != nil {
		return nil, err
	}
	d.wasClean, d.powerLoss = m.clean, !m.clean && m.bootID != bootID
	if err := d.loadMarks(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	for id := range m.shards {
		l := newLog(d, id)
		if err := l.list(); err != nil {
			return nil, errors.Join(err, d.lock.Close())
		}
		d.logs = append(d.logs, l)
		d.total.Add(l.toRecover())
		d.hasData = d.hasData || l.found.any
	}
	return d, nil
}

// Shards returns their number.
func (d *Disk) Shards() int { return len(d.logs) }

// Contents are the files of a shard.
type Contents struct {
	Segments, Snapshots, Blobs, Quarantined int
	Bytes                                   int64 // of all but the quarantine
}

// Contents returns what there was when the folder was opened.
func (l *Log) Contents() (c Contents, err error) {
	c.Segments, c.Snapshots, c.Blobs = len(l.found.segments), len(l.found.snapshots), len(l.found.blobs)
	for _, s := range append(l.found.segments[:len(l.found.segments):len(l.found.segments)], l.found.snapshots...) {
		c.Bytes += s.bytes
	}
	for _, bytes := range l.found.blobs {
		c.Bytes += bytes
	}
	away, err := l.disk.fs.List(l.path(quarantine))
	c.Quarantined = len(away)
	if !l.found.there || err != nil && c.Quarantined == 0 {
		err = nil // there is none
	}
	return c, err
}

// Read gives h what Recover would, and changes no file.
func (l *Log) Read(h Handler) (*Report, error) {
	if !l.found.there {
		return l.missingFolder(), nil
	}
	r, err := l.read(h)
	if err != nil {
		return nil, err
	}
	if r.cut != nil && r.report.TornFile == "" {
		info := r.found.segments[r.cut.segment]
		r.report.TornFile, r.report.TornAt, r.report.Torn = l.path(info.name), r.cut.at, info.bytes-r.cut.at
	}
	return &r.report, nil
}

// RebuildManifest writes the MANIFEST of a folder that has lost it, from what its other files say. The number of shards is not among that. With
// bootID that of now, everything that is whole will be read.
func RebuildManifest(fs vfs.FS, dir string, shards int, bootID string) error {
	m := nodeManifest{shards: shards, bootID: bootID}
	found, err := fs.List(path.Join(dir, shardsDir))
	if err != nil {
		return err
	}
	known := false
	for _, sub := range found {
		files, err := fs.List(path.Join(dir, shardsDir, sub.Name))
		if err != nil {
			return err
		}
		for _, f := range files {
			magic := ""
			if _, ok := parseSegmentName(f.Name); ok {
				magic = segmentMagic
			} else if _, _, ok := parseSnapshotName(f.Name); ok {
				magic = snapshotMagic
			} else {
				continue
			}
			b, err := vfs.ReadFile(fs, path.Join(dir, shardsDir, sub.Name, f.Name), fixedHeader+epochBytes*maxEpochs)
			if err != nil {
				return err
			}
			h, err := parseHeader(b, magic)
			switch {
			case err != nil: // damaged
			case known && h.cluster != m.cluster:
				return fmt.Errorf("the files are of two clusters, %v and %v", m.cluster, h.cluster)
			case int(h.shard) >= shards:
				return fmt.Errorf("there is a shard %d: the folder had more than %d", h.shard, shards)
			default:
				m.cluster, known = h.cluster, true
				m.incarnation = max(m.incarnation, h.epoch)
			}
		}
	}
	if !known {
		return errors.New("no file says of which cluster the folder is")
	}
	m.store = m.cluster
	d := &Disk{fs: fs, dir: dir, node: m}
	return d.writeManifest()
}
