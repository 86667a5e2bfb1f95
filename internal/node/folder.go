package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// openDisk opens the data folder, if there is to be one, and finds out which node this is, and in which incarnation: each start has a higher one than all before,
// even than those whose folder is gone.
func (n *Node) openDisk() error {
	n.incarnation = uint64(time.Now().UnixMilli())
	if n.config.Dir == "" {
		n.id = datafolder.NodeID(n.config.NodeID)
		return nil
	}
	dir, err := filepath.Abs(n.config.Dir)
	if err != nil {
		return err
	}
	boot, err := datafolder.BootID()
	if err != nil {
		n.log.Warn("the system does not say when it was started: after a stop that is not clean, the logs are read as after a loss of power", "err", err)
		boot = rand.Text()
	}
	now := n.incarnation
	n.disk, err = persistence.OpenDisk(vfs.OS{}, dir, persistence.Options{
		Shards: n.config.Shards, BootID: boot, Log: n.log, Reserve: reserveBytes,
		NextIncarnation: func(last uint64) uint64 { return max(last+1, now) },
		IsMember: func(d *persistence.Disk) bool {
			return cluster.IsMember(datafolder.Files{Disk: d}) || hasEntries(filepath.Join(dir, datafolder.Raft))
		},
	})
	if errors.Is(err, fs.ErrPermission) { // a volume that somebody else has made, for example
		return fmt.Errorf("%s: %w: this process runs as user %d, to whom the folder has to belong", dir, err, os.Geteuid())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	n.incarnation = n.disk.Identity().Incarnation()
	if n.id, err = datafolder.ClaimNodeID(datafolder.Files{Disk: n.disk}, n.config.NodeID, n.disk.Identity().HasData() || datafolder.RaftState(n.disk) != ""); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if n.disk.PowerLoss() {
		n.log.Warn("the machine was started anew since the last run, which did not end cleanly: what was not synced may be gone", "dir", dir)
	}
	return nil
}

// reserveBytes are kept back on disk for a start and for deletes when there is no room left: tens of thousands of deletes.
const reserveBytes = 4 << 20

// hasEntries reports whether a folder has anything in it, or cannot be read.
func hasEntries(dir string) bool {
	found, err := os.ReadDir(dir)
	return len(found) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist)
}
