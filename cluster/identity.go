package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// identity is what a node has promised, and what it belongs to. It is written down before anybody is told.
type identity struct {
	Cluster string   `json:"cluster,omitempty"` // id; empty before the node is part of one
	Server  string   `json:"server,omitempty"`  // server id as which the node became part of it
	Claim   *claim   `json:"claim,omitempty"`   // that the node has given
	Round   uint64   `json:"round,omitempty"`   // of the last claim that it has asked for
	Made    *made    `json:"made,omitempty"`    // of the one node that makes the cluster
	Was     []string `json:"was,omitempty"`     // stores that the folder was before, while the cluster may know it as one of them
}

// claim is a node's word that it will be part of a cluster of exactly these nodes, and of no other, unless the asker gives it back.
type claim struct {
	Asker   topology.NodeID `json:"asker"`
	Store   string          `json:"store"` // of the asker
	Round   uint64          `json:"round"` // the asker's; a later one replaces an earlier one
	Cluster string          `json:"cluster"`
	Members []string        `json:"members"` // server ids, in order
}

// made is how a cluster begins.
type made struct {
	Servers []server        `json:"servers"` // of raft
	Nodes   []topology.Node `json:"nodes"`
	Keeper  topology.NodeID `json:"keeper,omitempty"` // keeps what is in its folder
	Epoch   uint64          `json:"epoch"`
}

type server struct {
	ID    string `json:"id"`
	Voter bool   `json:"voter"`
}

const identityFile = "identity.json"

var errIdentity = errors.New(identityFile + " is damaged")

func loadIdentity(files Files) (i identity, err error) {
	content, err := files.Load(identityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return i, nil
	}
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(content, &i); err != nil {
		return identity{}, fmt.Errorf("%w: %w", errIdentity, err)
	}
	return i, nil
}

func (i *identity) save(files Files) error {
	content, err := json.MarshalIndent(i, "", " ")
	if err != nil {
		return err
	}
	return files.Save(identityFile, content)
}

// same reports whether two claims are one, of any round.
func (c *claim) same(d *claim) bool {
	return c.Asker == d.Asker && c.Store == d.Store && c.Cluster == d.Cluster && slices.Equal(c.Members, d.Members)
}

// identity returns what the folder's node is. Where identity.json is missing, empty or damaged, the folder may yet be known to be of a cluster: its manifest names that
// cluster and the raft state (Host.SetRaftState), and raft's files are in folders that are named by the store. That is all that a member has to know, since what it has promised
// before it became one is over; whether raft's files are whole shows when they are opened.
func (f *raftFolder) identity(self topology.NodeID, cluster string, booked bool) (identity, error) {
	i, err := loadIdentity(f.files)
	if err != nil && !errors.Is(err, errIdentity) || i.Cluster != "" {
		return i, err
	}
	store := f.lastStore()
	switch {
	case store != "" && cluster != "":
	case f.hasData && booked:
		return i, f.lost("%s and %s are missing or damaged", identityFile, f.path())
	case err != nil:
		return i, fmt.Errorf("%w. The node was of no cluster yet: with an empty data folder it starts as another one", err)
	default:
		return i, nil
	}
	f.log.Warn("what the node is in its cluster is taken from the folder's manifest and from raft's files", "file", identityFile, "cluster", cluster, "store", store, "err", err)
	i = identity{Cluster: cluster, Server: serverID(self, store)}
	return i, i.save(f.files)
}

// lastStore returns the store that had a part in a cluster, as far as raft's files and the folder's manifest tell; empty for none.
func (f *raftFolder) lastStore() (last string) {
	if f.known != "" {
		return f.store
	}
	found, _ := os.ReadDir(f.dir) // there may be none
	var newest time.Time
	for _, sub := range found {
		info, err := os.Stat(filepath.Join(f.dir, sub.Name(), raftFile))
		if err != nil || !isStore(sub.Name()) {
			continue
		}
		if sub.Name() == f.store {
			return f.store
		}
		if last == "" || info.ModTime().After(newest) {
			last, newest = sub.Name(), info.ModTime()
		}
	}
	return last
}

// IsMember reports whether a folder's node has been part of a cluster, or may have.
func IsMember(files Files) bool {
	i, err := loadIdentity(files)
	return err != nil || i.Cluster != ""
}

// HasPromised reports whether a folder's node has promised something to others by its id, or may have.
func HasPromised(files Files) bool {
	i, err := loadIdentity(files)
	return err != nil || i.Cluster != "" || i.Claim != nil || i.Round > 0
}

// StoredNode returns the id of the node that a folder's identity.json is of; empty if it does not tell.
func StoredNode(files Files) topology.NodeID {
	i, err := loadIdentity(files)
	if err != nil {
		return ""
	}
	node, _, err := parseServerID(i.Server)
	if err != nil {
		return ""
	}
	return node
}
