package persistence

import (
	"errors"
	"io"
	iofs "io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/ndring/ndring/persistence/vfs"
)

// settle makes the files what was read: it cuts the end of the log, puts away what does not count, and notes the rest.
func (r *replay) settle() error {
	l := r.Log
	l.dirs.made = true
	l.last, l.durable, l.manifest = r.reached(), r.end, r.named
	segments := l.found.segments
	keep := len(segments)
	if r.cut != nil {
		keep = r.cut.segment + 1
		if err := r.cutSegment(); err != nil {
			return err
		}
		for _, s := range segments[keep:] {
			r.report.Lost += s.bytes
			if err := l.quarantine(s.name); err != nil {
				return err
			}
		}
	}
	for _, s := range segments[:r.obsolete] {
		if err := l.discard(s.name); err != nil {
			return err
		}
	}
	for _, s := range segments[r.obsolete:keep] {
		switch {
		case s.bytes == 0 && !r.damaged[s.name]: // cut away
			continue
		case s.bytes == 0 || s.seq > r.report.Seq && r.damaged[s.name]:
			if err := l.quarantine(s.name); err != nil {
				return err
			}
			continue
		case s.seq > r.report.Seq: // it has no record; the next one to be made has its name
			if err := l.discard(s.name); err != nil {
				return err
			}
			continue
		}
		l.segments = append(l.segments, &segment{name: s.name, first: s.seq, bytes: s.bytes, synced: s.bytes, damaged: r.damaged[s.name]})
		l.count(&l.bytes.segments, s.bytes)
	}
	for i := range l.found.snapshots {
		s := &l.found.snapshots[i]
		switch {
		case s == r.snapshot:
			l.snapshot = &snapshotFile{name: s.name, epoch: s.epoch, seq: s.seq, bytes: s.bytes, blobs: r.refs, damaged: r.damaged[s.name]}
			l.count(&l.bytes.snapshots, s.bytes)
		case r.damaged[s.name]:
			if err := l.quarantine(s.name); err != nil {
				return err
			}
		default:
			if err := l.discard(s.name); err != nil {
				return err
			}
		}
	}
	for _, name := range l.found.temps {
		if err := l.discard(name); err != nil {
			return err
		}
	}
	return r.settleBlobs()
}

// cutSegment cuts the file at which the log ends. What is cut off after a loss of power is kept.
func (r *replay) cutSegment() error {
	l, info := r.Log, &r.found.segments[r.cut.segment]
	if r.report.TornFile == "" {
		r.report.TornFile, r.report.TornAt, r.report.Torn = l.path(info.name), r.cut.at, info.bytes-r.cut.at
	}
	if r.cut.at == 0 {
		whole := info.bytes >= fixedHeader
		info.bytes = 0
		if whole {
			return l.quarantine(info.name)
		}
		return l.discard(info.name)
	}
	f, err := l.disk.fs.Open(l.path(info.name))
	if err != nil {
		return err
	}
	if l.disk.options.KeepAll {
		err = l.keepTail(f, info.name, r.cut.at)
	}
	if err == nil {
		err = f.Truncate(r.cut.at)
	}
	if err == nil {
		err = f.Sync()
	}
	info.bytes = r.cut.at
	return errors.Join(err, f.Close())
}

// keepTail writes what is to be cut off to the quarantine.
func (l *Log) keepTail(f vfs.File, name string, at int64) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	b := make([]byte, size-at)
	if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
		return err
	}
	tail := name + ".tail-" + strconv.FormatInt(at, 10)
	if err := vfs.WriteFile(l.disk.fs, l.path(tail), b); err != nil {
		return err
	}
	return l.quarantine(tail)
}

func (r *replay) settleBlobs() error {
	l := r.Log
	used := map[BlobID]*waiting{}
	for _, w := range r.pending {
		used[w.Blob] = w
	}
	pinned := map[BlobID]bool{}
	for _, id := range r.refs {
		pinned[id] = true
	}
	for id, bytes := range l.found.blobs {
		b := &blob{id: id, bytes: bytes, state: dead}
		switch name := path.Join(blobsDir, id.String()); {
		case used[id] != nil:
			b.state, b.crc, b.known = live, used[id].CRC, true
			l.count(&l.bytes.live, bytes)
		case r.damaged[name]:
			if err := l.quarantine(name); err != nil {
				return err
			}
			continue
		case pinned[id]:
			l.count(&l.bytes.dead, bytes)
		case len(r.report.Damage) > 0: // what refers to it may be what was damaged
			if err := l.quarantine(name); err != nil {
				return err
			}
			continue
		default:
			if err := l.discard(name); err != nil {
				return err
			}
			continue
		}
		if pinned[id] {
			b.pins = 1
		}
		l.blobs[id] = b
	}
	_, err := l.disk.fs.List(l.path(blobsDir))
	l.dirs.madeBlobs = err == nil
	return nil
}

// discard removes a file that nobody needs; with KeepAll it goes to the quarantine.
func (l *Log) discard(name string) error {
	if l.disk.options.KeepAll {
		return l.quarantine(name)
	}
	return vfs.Discard(l.disk.fs, l.path(name))
}

// quarantine puts a file of the shard where no recovery looks, under a name that says what it was.
func (l *Log) quarantine(name string) error {
	dir := l.path(quarantine)
	if err := l.disk.withRoom(func() error { return l.disk.fs.Mkdir(dir) }); err != nil {
		return err
	}
	there, err := l.disk.fs.List(dir)
	if err != nil {
		return err
	}
	base := path.Base(name)
	taken := func(name string) bool {
		return slices.ContainsFunc(there, func(i vfs.Info) bool { return i.Name == name })
	}
	to := base
	for n := 2; taken(to); n++ {
		to = base + "." + strconv.Itoa(n)
	}
	err = l.disk.fs.Rename(l.path(name), path.Join(dir, to))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err == nil {
		l.disk.options.Log.Warn("a file was put into the quarantine", "file", l.path(name), "as", path.Join(dir, to))
	}
	return err
}
