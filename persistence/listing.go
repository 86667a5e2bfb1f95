package persistence

import (
	"cmp"
	"errors"
	iofs "io/fs"
	"path"
	"slices"
	"strings"

	"github.com/ndring/ndring/persistence/vfs"
)

// listing is what the folder of a shard has, by the names of its files.
type listing struct {
	exists    bool       // the folder does
	any       bool       // there is something in it
	segments  []fileInfo // in the order of their first seqs
	snapshots []fileInfo // newest first
	blobs     map[BlobID]int64
	temps     []string
	sizes     map[string]int64 // of temps

	// What the shard's manifest says beside that; set by chooseBase.
	commit uint64
	swap   *interruptedSwap // nil for none
}

// fileInfo is a file and what its name says.
type fileInfo struct {
	name       string
	bytes      int64
	epoch, seq uint64
}

// scanDir lists the folder of a shard.
func scanDir(fs vfs.FS, dir string) (listing, error) {
	l := listing{blobs: map[BlobID]int64{}, sizes: map[string]int64{}}
	all, err := fs.List(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	l.exists, l.any = true, len(all) > 0
	for _, f := range all {
		if seq, ok := parseSegmentName(f.Name); ok {
			l.segments = append(l.segments, fileInfo{f.Name, f.Size, 0, seq})
		} else if epoch, seq, ok := parseSnapshotName(f.Name); ok {
			l.snapshots = append(l.snapshots, fileInfo{f.Name, f.Size, epoch, seq})
		} else if strings.HasSuffix(f.Name, tempSuffix) {
			l.temps, l.sizes[f.Name] = append(l.temps, f.Name), f.Size
		}
	}
	slices.SortFunc(l.segments, func(a, b fileInfo) int { return cmp.Compare(a.seq, b.seq) })
	slices.SortFunc(l.snapshots, func(a, b fileInfo) int {
		return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(b.seq, a.seq))
	})
	blobs, err := fs.List(path.Join(dir, blobsDir))
	if errors.Is(err, iofs.ErrNotExist) {
		return l, nil
	}
	for _, f := range blobs {
		if id, ok := parseBlobName(f.Name); ok {
			l.blobs[id] = f.Size
		} else if strings.HasSuffix(f.Name, tempSuffix) {
			l.temps = append(l.temps, path.Join(blobsDir, f.Name))
		}
	}
	return l, err
}

// toRecover returns roughly how many bytes a recovery reads.
func (l *listing) toRecover() (n int64) {
	if len(l.snapshots) > 0 {
		n += l.snapshots[0].bytes
	}
	for _, s := range l.segments {
		n += s.bytes
	}
	for _, bytes := range l.blobs {
		n += bytes
	}
	return n
}
