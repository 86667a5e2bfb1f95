package persistence

import (
	"cmp"
	"errors"
	iofs "io/fs"
	"path"
	"slices"
	"strings"
)

// files are those of a shard, as a start finds them.
type files struct {
	there     bool
	any       bool        // something lies in the folder
	segments  []foundFile // by their first seq
	snapshots []foundFile // the newest first
	blobs     map[BlobID]int64
	temps     []string
}

// foundFile is a file with what its name says.
type foundFile struct {
	name       string
	bytes      int64
	epoch, seq uint64
}

// list finds out what there is.
func (l *Log) list() error {
	l.found = files{blobs: map[BlobID]int64{}}
	all, err := l.disk.fs.List(l.dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l.found.there, l.found.any = true, len(all) > 0
	for _, f := range all {
		if seq, ok := parseSegmentName(f.Name); ok {
			l.found.segments = append(l.found.segments, foundFile{f.Name, f.Size, 0, seq})
		} else if epoch, seq, ok := parseSnapshotName(f.Name); ok {
			l.found.snapshots = append(l.found.snapshots, foundFile{f.Name, f.Size, epoch, seq})
		} else if strings.HasSuffix(f.Name, tempSuffix) {
			l.found.temps = append(l.found.temps, f.Name)
		}
	}
	slices.SortFunc(l.found.segments, func(a, b foundFile) int { return cmp.Compare(a.seq, b.seq) })
	slices.SortFunc(l.found.snapshots, func(a, b foundFile) int {
		return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(b.seq, a.seq))
	})
	blobs, err := l.disk.fs.List(path.Join(l.dir, blobsDir))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	for _, f := range blobs {
		if id, ok := parseBlobName(f.Name); ok {
			l.found.blobs[id] = f.Size
		} else if strings.HasSuffix(f.Name, tempSuffix) {
			l.found.temps = append(l.found.temps, path.Join(blobsDir, f.Name))
		}
	}
	return err
}

// toRecover returns about how many bytes a recovery reads.
func (l *Log) toRecover() (n int64) {
	if len(l.found.snapshots) > 0 {
		n += l.found.snapshots[0].bytes
	}
	for _, s := range l.found.segments {
		n += s.bytes
	}
	for _, bytes := range l.found.blobs {
		n += bytes
	}
	return n
}
