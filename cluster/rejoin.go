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

// Rejoin is the way out when a folder has lost what raft kept in it: the node comes back as another server, which has no vote until it is given one, and with the copies that
// are in the folder. It works on the files of a node that does not run. OpenRejoin, then Apply, then the folder gets another store.
//
// A node that was alone in its cluster makes that again, around its arrays; its settings are lost. Where it is not known whether it was alone, whoever asks has to say it: a
// member that made its cluster again would be a second one of that id.
type Rejoin struct {
	Cluster string
	Self    topology.NodeID
	Why     error // what is lost
	Alone   bool  // the node was alone, as far as the folder tells
	Unknown bool  // the folder does not tell

	folder   raftFolder
	identity identity
}

// ErrRaftIntact is returned by OpenRejoin when there is nothing wrong with what raft kept.
var ErrRaftIntact = errors.New("raft's files are whole: start the node, it goes on as the server that it was")

// Folder is where a node that does not run keeps its part in a cluster.
type Folder struct {
	Self      topology.NodeID
	Store     string
	Cluster   string // that its manifest names
	RaftState string // likewise
	RaftDir   string
	HasData   bool
	Files     Files
}

// OpenRejoin finds out what a folder has lost, and changes nothing.
func OpenRejoin(f Folder, log *slog.Logger) (*Rejoin, error) {
	r := &Rejoin{Cluster: f.Cluster, Self: f.Self, folder: raftFolder{
		dir: f.RaftDir, store: f.Store, known: f.RaftState, hasData: f.HasData, files: f.Files, found: func(string) error { return nil }, log: log, logger: raftLogger(log),
	}}
	book, err := openBook(f.Files)
	if err != nil {
		return nil, err
	}
	i, err := loadIdentity(f.Files)
	switch {
	case err != nil && !errors.Is(err, errIdentity):
		return nil, err
	case i.Cluster != "":
		r.Cluster, r.identity = i.Cluster, i
		r.Alone = i.Made.alone() && len(book.all()) == 0
	case r.folder.lastStore() == "" && !f.HasData:
		return nil, ErrNoRaft
	default: // what identity.json said is lost too
		r.identity = identity{Cluster: f.Cluster, Server: serverID(f.Self, f.Store)}
		r.Unknown = len(book.all()) == 0
	}
	err = r.look()
	var lost *LostError
	if !errors.As(err, &lost) {
		return nil, err
	}
	r.Why = errors.New(lost.What)
	return r, nil
}

// look returns the LostError that a start would end with, or another one if it would not.
func (r *Rejoin) look() error {
	if local := serverID(r.Self, r.folder.store); r.identity.Server != local {
		if _, err := r.folder.serversOf(r.identity.Server); err != nil {
			return err
		}
		return errors.New("the node comes back as another server with its next start already")
	}
	s, err := r.folder.openOld(&r.identity)
	if err != nil {
		return err
	}
	return errors.Join(ErrRaftIntact, s.close())
}

// Apply has the next start come back as another server, or make the cluster again if the node was alone. What is left of raft's files is kept aside; it returns where. The folder
// has to get another store then, by which the start sees it; until it has one, the node does not start.
func (r *Rejoin) Apply(alone bool) (kept string, err error) {
	if alone {
		r.identity.Made = &made{Servers: []server{{ID: r.identity.Server, Voter: true}}}
	} else {
		r.identity.Made = nil
	}
	if err := r.identity.save(r.folder.files); err != nil {
		return "", err
	}
	if _, err := os.Stat(r.folder.dir); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	kept = r.folder.dir + ".lost-" + time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Rename(r.folder.dir, kept); err != nil {
		return "", fmt.Errorf("raft's files cannot be put aside: %w", err)
	}
	return kept, syncDir(filepath.Dir(kept))
}
