package persistence

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/ndring/ndring/persistence/vfs"
)

// Inspect opens the folder of a node that does not run, to read its shards. Use the Readers of the
// Disk for that, and write nothing to its Logs.
func Inspect(fs vfs.FS, dir, bootID string) (*Disk, error) {
	m, err := readNodeManifest(fs, dir)
	if err != nil {
		return nil, err
	}
	d := newDisk(fs, dir, Options{Shards: m.shards, BootID: bootID, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if d.lock, err = fs.Lock(path.Join(dir, lockName)); err != nil {
		return nil, err
	}
	d.identity.m = m
	d.wasClean, d.powerLoss = m.clean, !m.clean && m.bootID != bootID
	if err := d.openLogs(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// RebuildManifest writes the MANIFEST of a folder that has lost it, from its other files. These do
// not tell the number of shards. With the present boot id, the next start reads everything that is
// whole. Nothing tells what is missing, so the copies are unclean.
func RebuildManifest(fs vfs.FS, dir string, shards int, bootID string) error {
	m := nodeManifest{shards: shards, bootID: bootID, unclean: anyDoubt}
	known := false
	err := eachHeader(fs, dir, func(h *fileHeader) error {
		switch {
		case known && h.cluster != m.cluster:
			return fmt.Errorf("the files belong to two clusters, %v and %v", m.cluster, h.cluster)
		case int(h.shard) >= shards:
			return fmt.Errorf("the folder has a shard %d, so it had more than %d", h.shard, shards)
		}
		m.cluster, known = h.cluster, true
		m.incarnation = max(m.incarnation, h.epoch)
		return nil
	})
	if err != nil {
		return err
	}
	if !known {
		return errors.New("no file names the cluster of the folder")
	}
	m.store = m.cluster
	return m.write(fs, dir)
}

// eachHeader calls do with the header of every segment and snapshot that has one.
func eachHeader(fs vfs.FS, dir string, do func(*fileHeader) error) error {
	shards, err := fs.List(path.Join(dir, shardsDir))
	if err != nil {
		return err
	}
	for _, shard := range shards {
		folder := path.Join(dir, shardsDir, shard.Name)
		files, err := fs.List(folder)
		if err != nil {
			return err
		}
		for _, f := range files {
			magic := segmentMagic
			if _, _, ok := parseSnapshotName(f.Name); ok {
				magic = snapshotMagic
			} else if !isRecordFile(f.Name) {
				continue
			}
			b, err := vfs.ReadFile(fs, path.Join(folder, f.Name), fixedHeader+epochBytes*maxEpochs)
			if err != nil {
				return err
			}
			h, err := parseHeader(b, magic)
			if err != nil { // damaged
				continue
			}
			if err := do(h); err != nil {
				return err
			}
		}
	}
	return nil
}
