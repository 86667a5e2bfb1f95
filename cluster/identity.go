package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// identity is what a node has promised and which cluster it belongs to. It is on disk before any
// other node is told.
type identity struct {
	Cluster      string           `json:"cluster,omitempty"` // id; empty before the node belongs to one
	Server       string           `json:"server,omitempty"`  // server id under which the node joined
	Claim        *claim           `json:"claim,omitempty"`   // the one that the node has granted
	Round        uint64           `json:"round,omitempty"`   // of the last claim that the node asked for as coordinator
	Bootstrap    *bootstrapRecord `json:"made,omitempty"`    // only on the coordinator, until the cluster has other members
	FormerStores []string         `json:"was,omitempty"`     // earlier stores of the data folder, until the cluster knows the present one
}

// claim is a node's promise to be part of a cluster of exactly these nodes, and of no other, unless
// the coordinator releases it.
type claim struct {
	Coordinator topology.NodeID `json:"asker"`
	Store       string          `json:"store"` // of the coordinator
	Round       uint64          `json:"round"` // the coordinator's; a later claim replaces an earlier one
	Cluster     string          `json:"cluster"`
	Members     []string        `json:"members"` // server ids, in order
}

// equal reports whether two claims are the same except for their round.
func (c *claim) equal(d *claim) bool {
	return c.Coordinator == d.Coordinator && c.Store == d.Store && c.Cluster == d.Cluster && slices.Equal(c.Members, d.Members)
}

// bootstrapRecord is how a cluster begins.
type bootstrapRecord struct {
	Servers []server        `json:"servers"` // of raft
	Nodes   []topology.Node `json:"nodes"`
	Keeper  topology.NodeID `json:"keeper,omitempty"` // the node that keeps the arrays in its data folder
	Epoch   uint64          `json:"epoch"`
}

type server struct {
	ID    string `json:"id"`
	Voter bool   `json:"voter"`
}

// alone reports whether the cluster was bootstrapped by one node and has had no other member since.
func (r *bootstrapRecord) alone() bool { return r != nil && len(r.Servers) == 1 }

// identityStore keeps the identity in memory and on disk.
type identityStore struct {
	files Files

	mu      sync.Mutex // guards all below
	loaded  bool       // current is what the disk says; until then the node must not answer about its promises
	current identity
}

// load sets what the disk says.
func (s *identityStore) load(i identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.loaded = i, true
}

func (s *identityStore) isLoaded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded
}

// get returns a copy. Its claim and its bootstrap record are immutable.
func (s *identityStore) get() identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *identityStore) clusterID() string { return s.get().Cluster }

// update saves the identity if change reports that it changed it. Requests wait while change runs,
// so that it can decide and record atomically.
func (s *identityStore) update(change func(*identity) (changed bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !change(&s.current) {
		return nil
	}
	return s.current.save(s.files)
}

// clearBootstrap forgets how the cluster began, once it has other members: a node that loses its
// log of the topology must not bootstrap the cluster a second time.
func (s *identityStore) clearBootstrap() error {
	return s.update(func(i *identity) bool {
		had := i.Bootstrap != nil
		i.Bootstrap = nil
		return had
	})
}

// addFormerStore adds an earlier store of the data folder, for the next update to save.
func (s *identityStore) addFormerStore(store string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.FormerStores = append(s.current.FormerStores, store)
}

// clearFormerStores forgets the earlier stores of the data folder, once the cluster knows the
// present one.
func (s *identityStore) clearFormerStores() error {
	return s.update(func(i *identity) bool {
		had := len(i.FormerStores) > 0
		i.FormerStores = nil
		return had
	})
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

// identity returns the identity of the folder's node. Without a readable identity.json, the
// manifest and raft's files may still tell: the manifest names the cluster and the raft state
// (Host.SetRaftState), and raft's files are in folders named by their store. A member needs no
// more, since its claims no longer matter. Whether raft's files are complete shows when they are
// opened.
func (f *raftFolder) identity(self topology.NodeID, cluster string, hasBook bool) (identity, error) {
	i, err := loadIdentity(f.files)
	if err != nil && !errors.Is(err, errIdentity) || i.Cluster != "" {
		return i, err
	}
	store := f.lastStore()
	switch {
	case store != "" && cluster != "":
	case f.hasData && hasBook:
		return i, f.lost("%s and %s are missing or damaged", identityFile, f.path())
	case err != nil:
		return i, fmt.Errorf("%w. The node belonged to no cluster yet: with an empty data folder it starts as a new node", err)
	default:
		return i, nil
	}
	f.log.Warn("identity restored from the manifest and from raft's files", "file", identityFile, "cluster", cluster, "store", store, "err", err)
	i = identity{Cluster: cluster, Server: serverID(self, store)}
	return i, i.save(f.files)
}

// lastStore returns the last store that was part of a cluster, according to the manifest and raft's
// files; empty for none.
func (f *raftFolder) lastStore() (last string) {
	if f.known != "" {
		return f.store
	}
	entries, _ := os.ReadDir(f.dir) // it may be missing
	var newest time.Time
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(f.dir, entry.Name(), raftFile))
		if err != nil || !isStore(entry.Name()) {
			continue
		}
		if entry.Name() == f.store {
			return f.store
		}
		if last == "" || info.ModTime().After(newest) {
			last, newest = entry.Name(), info.ModTime()
		}
	}
	return last
}

// IsMember reports whether the node of a data folder has belonged to a cluster, or may have.
func IsMember(files Files) bool {
	i, err := loadIdentity(files)
	return err != nil || i.Cluster != ""
}

// HasPromised reports whether the node of a data folder has promised anything to others under its
// id, or may have.
func HasPromised(files Files) bool {
	i, err := loadIdentity(files)
	return err != nil || i.Cluster != "" || i.Claim != nil || i.Round > 0
}

// StoredNode returns the node id in a data folder's identity.json; empty if there is none.
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
