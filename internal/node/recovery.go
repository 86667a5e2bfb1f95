package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// Recovery makes the node of a folder, which does not run, the only voter of its cluster. The folder is locked until Close.
type Recovery struct {
	*cluster.Recovery
	disk *persistence.Disk
}

// OpenRecovery reads what a node knows of its cluster, and changes nothing.
func OpenRecovery(dir string) (*Recovery, error) {
	boot, _ := bootID() // only what the shards have depends on it
	disk, err := persistence.Inspect(vfs.OS{}, dir, boot)
	if err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	r := &Recovery{disk: disk}
	id, err := keptNodeID(files{disk})
	if err == nil {
		r.Recovery, err = cluster.OpenRecovery(id, disk.Store().String(), filepath.Join(dir, raftFolder), files{disk}, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), disk.Close(false))
	}
	return r, nil
}

// Backup copies raft's files, and returns where to. The copy is on disk then.
func (r *Recovery) Backup() (string, error) {
	from := filepath.Join(r.disk.Dir(), raftFolder)
	to := from + ".before-recovery-" + time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Mkdir(to, 0o700); err != nil {
		return "", err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return "", err
	}
	return to, vfs.OS{}.SyncAll(to)
}

// Close gives the folder free.
func (r *Recovery) Close() error { return errors.Join(r.Recovery.Close(), r.disk.Close(false)) }
