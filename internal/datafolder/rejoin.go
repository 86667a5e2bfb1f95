package datafolder

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// Rejoin lets the node of a folder that has lost raft's files come back as another server. The node
// must not run; the folder is locked until Close.
type Rejoin struct {
	*cluster.Rejoin
	disk *persistence.Disk
}

// OpenRejoin finds out what the folder has lost. It changes nothing.
func OpenRejoin(dir string) (*Rejoin, error) {
	boot, _ := BootID() // matters only for the contents of shards
	disk, err := persistence.Inspect(vfs.OS{}, dir, boot)
	if err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	r := &Rejoin{disk: disk}
	id, err := keptNodeID(Files{disk})
	if err == nil {
		r.Rejoin, err = cluster.OpenRejoin(cluster.Folder{
			Self: id, Store: disk.Identity().Store().String(), Cluster: disk.Identity().Cluster().String(), RaftState: RaftState(disk), RaftDir: filepath.Join(dir, Raft),
			HasData: disk.Identity().HasData(), Files: Files{disk},
		}, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), disk.Close(false))
	}
	return r, nil
}

// Apply makes the next start a new server that keeps its arrays. It returns the folder to which it
// moved what was left of raft's files, or "" if nothing was. The result is synced to disk when it
// returns.
func (r *Rejoin) Apply(alone bool) (kept string, err error) {
	if kept, err = r.Rejoin.Apply(alone); err != nil {
		return kept, err
	}
	return kept, errors.Join(r.disk.Identity().RenewStore(), chownLike(r.disk.Dir(), r.disk.Dir()))
}

// Close unlocks the folder.
func (r *Rejoin) Close() error { return r.disk.Close(false) }
