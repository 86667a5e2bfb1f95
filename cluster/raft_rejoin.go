package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Rejoin repairs a data folder that has lost its raft state. At the next start the node is a new
// raft server, without a vote until it is given one, and keeps the copies in the folder. Rejoin
// works on the files of a node that is not running: OpenRejoin, then Apply, then the caller gives
// the folder a new store.
//
// A node that was alone in its cluster bootstraps that cluster again around its arrays; the
// settings are lost. If the folder does not tell whether the node was alone, the operator has to: a
// member that bootstrapped its cluster again would make a second cluster with the same id.
type Rejoin struct {
	Cluster string
	Self    topology.NodeID
	Why     error // what is lost
	Alone   bool  // the node was alone, as far as the folder tells
	Unknown bool  // the folder does not tell

	folder   raftFolder
	identity identity
}

// ErrRaftIntact is returned by OpenRejoin when the raft state is complete.
var ErrRaftIntact = errors.New("raft's files are intact: start the node, it continues as the same raft server")

// Folder is the data folder of a node that is not running.
type Folder struct {
	Self      topology.NodeID
	Store     string
	Cluster   string // according to the manifest
	RaftState string // according to the manifest
	RaftDir   string
	HasData   bool
	Files     Files
}

// OpenRejoin finds out what a folder has lost. It changes nothing.
func OpenRejoin(f Folder, log *slog.Logger) (*Rejoin, error) {
	r := &Rejoin{Cluster: f.Cluster, Self: f.Self, folder: raftFolder{
		dir: f.RaftDir, store: f.Store, known: f.RaftState, hasData: f.HasData, files: f.Files, setState: func(string) error { return nil }, log: log, logger: raftLogger(log),
	}}
	book, err := openAddressBook(f.Files)
	if err != nil {
		return nil, err
	}
	i, err := loadIdentity(f.Files)
	switch {
	case err != nil && !errors.Is(err, errIdentity):
		return nil, err
	case i.Cluster != "":
		r.Cluster, r.identity = i.Cluster, i
		r.Alone = i.Bootstrap.alone() && len(book.all()) == 0
	case r.folder.lastStore() == "" && !f.HasData:
		return nil, ErrNoRaft
	default: // identity.json is lost too
		r.identity = identity{Cluster: f.Cluster, Server: serverID(f.Self, f.Store)}
		r.Unknown = len(book.all()) == 0
	}
	err = r.diagnose()
	var lost *LostError
	if !errors.As(err, &lost) {
		return nil, err
	}
	r.Why = errors.New(lost.What)
	return r, nil
}

// diagnose returns the LostError with which a start would end, or another error if it would not.
func (r *Rejoin) diagnose() error {
	if local := serverID(r.Self, r.folder.store); r.identity.Server != local {
		if _, err := r.folder.serversOf(r.identity.Server); err != nil {
			return err
		}
		return errors.New("the folder has a new store already: start the node, it rejoins as a new raft server")
	}
	s, err := r.folder.openExisting(&r.identity)
	if err != nil {
		return err
	}
	return errors.Join(ErrRaftIntact, s.close())
}

// Apply makes the next start rejoin as a new raft server, or bootstrap the cluster again if the
// node was alone. It moves what is left of raft's files aside and returns where to. Until the
// caller gives the folder a new store, the node does not start.
func (r *Rejoin) Apply(alone bool) (kept string, err error) {
	if alone {
		r.identity.Bootstrap = &bootstrapRecord{Servers: []server{{ID: r.identity.Server, Voter: true}}}
	} else {
		r.identity.Bootstrap = nil
	}
	if err := r.identity.save(r.folder.files); err != nil {
		return "", err
	}
	if _, err := os.Stat(r.folder.dir); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	kept = r.folder.dir + ".lost-" + time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Rename(r.folder.dir, kept); err != nil {
		return "", fmt.Errorf("cannot move raft's files aside: %w", err)
	}
	return kept, syncDir(filepath.Dir(kept))
}
