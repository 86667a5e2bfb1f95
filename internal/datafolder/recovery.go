package datafolder

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

// Recovery makes the node of a folder the only voter of its cluster. The node must not run; the
// folder is locked until Close.
type Recovery struct {
	*cluster.Recovery
	disk *persistence.Disk
}

// OpenRecovery reads what the node knows about its cluster. It changes nothing.
func OpenRecovery(dir string) (*Recovery, error) {
	boot, _ := BootID() // matters only for the contents of shards
	disk, err := persistence.Inspect(vfs.OS{}, dir, boot)
	if err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	r := &Recovery{disk: disk}
	id, err := keptNodeID(Files{disk})
	if err == nil {
		r.Recovery, err = cluster.OpenRecovery(id, disk.Identity().Store().String(), filepath.Join(dir, Raft), Files{disk}, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), disk.Close(false))
	}
	return r, nil
}

// Store is the store that the folder holds.
func (r *Recovery) Store() string { return r.disk.Identity().Store().String() }

// Backup copies raft's files and returns the folder with the copy, which is synced to disk.
func (r *Recovery) Backup() (string, error) {
	from := filepath.Join(r.disk.Dir(), Raft)
	to := from + ".before-recovery-" + time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Mkdir(to, 0o700); err != nil {
		return "", err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return "", err
	}
	if err := chownLike(r.disk.Dir(), to); err != nil {
		return "", err
	}
	return to, vfs.SyncAll(vfs.OS{}, to)
}

// Recover makes the node the only voter. The result is synced to disk when it returns.
func (r *Recovery) Recover() error {
	err := r.Recovery.Recover()
	return errors.Join(err, chownLike(r.disk.Dir(), filepath.Join(r.disk.Dir(), Raft)))
}

// chownLike gives the files below folder to the owner of the data folder dir. The node may run as
// another user than the operator who repairs it, and must be able to replace these files.
func chownLike(dir, folder string) error {
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

// Close unlocks the folder.
func (r *Recovery) Close() error { return errors.Join(r.Recovery.Close(), r.disk.Close(false)) }
