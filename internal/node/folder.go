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
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// openDisk opens the data folder, if the node has one, and sets the node's id and incarnation. Each start has a greater
// incarnation than all starts before it, even after the folder was removed.
func (n *Node) openDisk() error {
	n.incarnation = uint64(time.Now().UnixMilli())
	certified := n.config.NodeID == "" // the certificate names the node, if it has one
	if certified {
		n.config.NodeID = n.busTLS.nodeName()
	}
	if n.config.Dir == "" {
		n.id = datafolder.NodeID(n.config.NodeID)
		return nil
	}
	dir, err := filepath.Abs(n.config.Dir)
	if err != nil {
		return err
	}
	boot, err := n.machine.bootID()
	if err != nil {
		n.log.Warn("cannot tell when the system was booted: after an unclean stop, logs are read as after a power loss", "err", err)
		boot = rand.Text()
	}
	now := n.incarnation
	n.disk, err = persistence.OpenDisk(n.machine.files, dir, persistence.Options{
		Shards: n.config.Shards, BootID: boot, Log: n.log, Reserve: reserveBytes, NoLog: !n.config.Logged,
		NextIncarnation: func(last uint64) uint64 { return max(last+1, now) },
		IsMember: func(d *persistence.Disk) bool {
			return cluster.IsMember(datafolder.Files{Disk: d}) || hasEntries(n.machine.files, filepath.Join(dir, datafolder.Raft))
		},
	})
	if errors.Is(err, fs.ErrPermission) { // for example, a volume that another user created
		return fmt.Errorf("%s: %w: this process runs as user %d, which must own the folder", dir, err, os.Geteuid())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	n.incarnation = n.disk.Identity().Incarnation()
	files, bound := datafolder.Files{Disk: n.disk}, n.disk.Identity().HasData() || datafolder.RaftState(n.disk) != ""
	if n.id, err = datafolder.ClaimNodeID(files, n.config.NodeID, bound); err != nil && certified && n.config.NodeID != "" {
		n.config.NodeID = "" // claim says that the certificate is for another node
		n.id, err = datafolder.ClaimNodeID(files, "", bound)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if n.disk.PowerLoss() {
		n.log.Warn("the machine rebooted after the last run, which did not end cleanly: unsynced writes may be lost", "dir", dir)
	}
	return nil
}

// filesOf returns the small files of a data folder; nil without one.
func filesOf(disk *persistence.Disk) cluster.Files {
	if disk == nil {
		return nil
	}
	return datafolder.Files{Disk: disk}
}

// clusterOf returns the cluster to which a data folder belongs; zero for none. A folder without a cluster has an id in store for one.
func clusterOf(disk *persistence.Disk) (id uuid.UUID) {
	if disk != nil && (cluster.IsMember(datafolder.Files{Disk: disk}) || datafolder.RaftState(disk) != "") {
		id = disk.Identity().Cluster()
	}
	return id
}

// reserveBytes is kept free on disk so that a full disk still allows a start, and tens of thousands of deletes.
const reserveBytes = 4 << 20

// hasEntries reports whether a folder is not empty, or cannot be read.
func hasEntries(files vfs.FS, dir string) bool {
	found, err := files.List(dir)
	return len(found) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist)
}
