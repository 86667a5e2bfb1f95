package node

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// openDisk opens the data folder, if there is to be one, and finds out which node this is, and in which incarnation: each start has a higher one than all before,
// even than those whose folder is gone.
func (n *Node) openDisk() error {
	n.incarnation = uint64(time.Now().UnixMilli())
	if n.config.Dir == "" {
		n.id = nodeID(n.config.NodeID)
		return nil
	}
	dir, err := filepath.Abs(n.config.Dir)
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		n.log.Warn("the system does not say when it was started: after a stop that is not clean, the logs are read as after a loss of power", "err", err)
		boot = rand.Text()
	}
	now := n.incarnation
	n.disk, err = persistence.OpenDisk(vfs.OS{}, dir, persistence.Options{
		Shards: n.config.Shards, BootID: boot, Log: n.log, Reserve: reserveBytes,
		NextIncarnation: func(last uint64) uint64 { return max(last+1, now) },
		IsMember: func(d *persistence.Disk) bool {
			return cluster.IsMember(files{d}) || hasEntries(filepath.Join(dir, raftFolder))
		},
	})
	if errors.Is(err, fs.ErrPermission) { // a volume that somebody else has made, for example
		return fmt.Errorf("%s: %w: this process runs as user %d, to whom the folder has to belong", dir, err, os.Geteuid())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	n.incarnation = n.disk.Incarnation()
	if n.id, err = folderNodeID(files{n.disk}, n.config.NodeID, n.disk.HasData() || raftStateOf(n.disk) != ""); err != nil {
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

// files are the small files of a data folder, as package cluster wants them.
type files struct{ disk *persistence.Disk }

// Load implements cluster.Files.
func (f files) Load(name string) ([]byte, error) { return f.disk.LoadFile(name) }

// Save implements cluster.Files.
func (f files) Save(name string, content []byte) error { return f.disk.SaveFile(name, content) }

// raftFolder is where a data folder keeps the log of the topology.
const raftFolder = "raft"

// raftStateOf returns the id of the raft state that a data folder has; empty for none.
func raftStateOf(disk *persistence.Disk) string {
	return disk.Raft().String()
}

// nodeIDFile is where a data folder keeps the id of its node.
const nodeIDFile = "node-id"

// folderNodeID returns the id of the node that a folder is of, which is made from name, or at random, if it is of none. Bound says that it has arrays, or has had a part in a
// cluster.
func folderNodeID(in cluster.Files, name string, bound bool) (topology.NodeID, error) {
	id, err := keptNodeID(in)
	if errors.Is(err, fs.ErrNotExist) {
		id = nodeID(name)
		return id, in.Save(nodeIDFile, []byte(id+"\n"))
	}
	if err != nil {
		return "", err
	}
	if name != "" && nodeID(name) != id {
		if !bound && !cluster.HasPromised(in) { // by a start that came to nothing
			id = nodeID(name)
			return id, in.Save(nodeIDFile, []byte(id+"\n"))
		}
		return "", fmt.Errorf("the folder is of another node, %s: --node-id %s would be %s", id, name, nodeID(name))
	}
	return id, nil
}

// keptNodeID returns the id of the node that a folder is of; the error is fs.ErrNotExist if it is of none. Where its file is missing or damaged, the node's part in a cluster
// tells: under another id the node would be another member.
func keptNodeID(in cluster.Files) (topology.NodeID, error) {
	kept, err := in.Load(nodeIDFile)
	id := strings.TrimSpace(string(kept))
	if err == nil && isNodeID(id) {
		return topology.NodeID(id), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if member := cluster.StoredNode(in); member != "" {
		return member, nil
	}
	if err == nil {
		return "", fmt.Errorf("%s has %.50q, which is the id of no node: write the 40 digits into it that CLUSTER MYID answered, or remove it if the node was in no cluster", nodeIDFile, id)
	}
	return "", err
}

func isNodeID(s string) bool {
	decoded, err := hex.DecodeString(s)
	return err == nil && len(decoded) == sha1.Size
}

// nodeID makes the 40 hexadecimal digits that clients see from a node's name, or from nothing.
func nodeID(name string) topology.NodeID {
	if decoded, err := hex.DecodeString(name); err == nil && len(decoded) == sha1.Size {
		return topology.NodeID(hex.EncodeToString(decoded))
	}
	if name == "" {
		name = rand.Text()
	}
	sum := sha1.Sum([]byte(name)) // a name, not a secret
	return topology.NodeID(hex.EncodeToString(sum[:]))
}
