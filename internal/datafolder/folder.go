// Package datafolder knows what a data folder says about its node: which node it belongs to, and
// what raft keeps in it. It also repairs the folder of a node that does not run, when the cluster
// has lost a majority of its voters (Recovery) or the folder has lost raft's files (Rejoin).
//
// The server opens its own folder through internal/node, and operators repair one with ndctl; both
// share this package so that ndctl needs nothing of the server. It must never know about arrays,
// sockets or settings.
package datafolder

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence"
)

// Raft is the folder, below a data folder, that holds the log of the topology.
const Raft = "raft"

// nodeIDFile holds the id of the node that owns the folder.
const nodeIDFile = "node-id"

// Files gives package cluster access to the small files of a data folder.
type Files struct{ Disk *persistence.Disk }

// Load implements cluster.Files.
func (f Files) Load(name string) ([]byte, error) { return f.Disk.Files().Load(name) }

// Save implements cluster.Files.
func (f Files) Save(name string, content []byte) error { return f.Disk.Files().Save(name, content) }

// RaftState returns the id of the raft state in a data folder, or "" if there is none.
func RaftState(disk *persistence.Disk) string { return disk.Identity().RaftState().String() }

// BootID identifies the current boot of the machine. Without it, every start counts as the first
// after a boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// ClaimNodeID returns the id of the node that owns the folder. A folder without an owner gets the
// id made from name, or a random one. Bound says that the folder has arrays, or has been part of a
// cluster: only an unbound folder may change its owner.
func ClaimNodeID(in cluster.Files, name string, bound bool) (topology.NodeID, error) {
	id, err := keptNodeID(in)
	if errors.Is(err, fs.ErrNotExist) {
		id = NodeID(name)
		return id, in.Save(nodeIDFile, []byte(id+"\n"))
	}
	if err != nil {
		return "", err
	}
	if name != "" && NodeID(name) != id {
		if !bound && !cluster.HasPromised(in) { // left by a start that failed
			id = NodeID(name)
			return id, in.Save(nodeIDFile, []byte(id+"\n"))
		}
		return "", fmt.Errorf("the folder belongs to another node, %s: --node-id %s would be %s", id, name, NodeID(name))
	}
	return id, nil
}

// keptNodeID returns the id of the node that owns the folder, or fs.ErrNotExist if it has no owner.
// If the id's file is missing or damaged, the id comes from the files of package cluster: under a
// new id the node would be another member.
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
		return "", fmt.Errorf("%s contains %.50q, which is not a node id: write the 40 digits that CLUSTER MYID returned into it, or remove it if the node was never in a cluster", nodeIDFile, id)
	}
	return "", err
}

func isNodeID(s string) bool {
	decoded, err := hex.DecodeString(s)
	return err == nil && len(decoded) == sha1.Size
}

// NodeID returns the 40 hexadecimal digits that clients see for a node's name. A name that is such
// an id already stays as it is; an empty name gives a random id.
func NodeID(name string) topology.NodeID {
	if isNodeID(name) {
		return topology.NodeID(strings.ToLower(name))
	}
	if name == "" {
		name = rand.Text()
	}
	sum := sha1.Sum([]byte(name)) // a name, not a secret
	return topology.NodeID(hex.EncodeToString(sum[:]))
}
