package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
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
	if err := handBack(r.disk.Dir(), to); err != nil {
		return "", err
	}
	return to, vfs.SyncAll(vfs.OS{}, to)
}

// Recover makes the node the only voter. When it returns, that is on disk.
func (r *Recovery) Recover() error {
	err := r.Recovery.Recover()
	return errors.Join(err, handBack(r.disk.Dir(), filepath.Join(r.disk.Dir(), raftFolder)))
}

// handBack gives what is in a folder to the owner of the data folder: the node need not run as whoever recovers it, and has to replace these files.
func handBack(dir, folder string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}

// Close gives the folder free.
func (r *Recovery) Close() error { return errors.Join(r.Recovery.Close(), r.disk.Close(false)) }

// Rejoin has the node of a folder, which does not run and has lost what raft kept in it, come back as another server. The folder is locked until Close.
type Rejoin struct {
	*cluster.Rejoin
	disk *persistence.Disk
}

// OpenRejoin finds out what a folder has lost, and changes nothing.
func OpenRejoin(dir string) (*Rejoin, error) {
	boot, _ := bootID() // only what the shards have depends on it
	disk, err := persistence.Inspect(vfs.OS{}, dir, boot)
	if err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	r := &Rejoin{disk: disk}
	id, err := keptNodeID(files{disk})
	if err == nil {
		r.Rejoin, err = cluster.OpenRejoin(cluster.Folder{
			Self: id, Store: disk.Store().String(), Cluster: disk.Cluster().String(), RaftState: raftStateOf(disk), RaftDir: filepath.Join(dir, raftFolder),
			HasData: disk.HasData(), Files: files{disk},
		}, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), disk.Close(false))
	}
	return r, nil
}

// Apply has the next start come back as another server, with its arrays, and returns where what is left of raft's files is kept; empty for nowhere. When it returns, that is on disk.
func (r *Rejoin) Apply(alone bool) (kept string, err error) {
	if kept, err = r.Rejoin.Apply(alone); err != nil {
		return kept, err
	}
	return kept, errors.Join(r.disk.RenewStore(), handBack(r.disk.Dir(), r.disk.Dir()))
}

// Close gives the folder free.
func (r *Rejoin) Close() error { return r.disk.Close(false) }
