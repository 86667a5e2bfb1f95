package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/internal/uuid"
)

// A raft server that has lost its term, its vote or a part of its log can undo decisions: it may
// vote for a server that knows less than it did. So the first raft state of a data folder gets an
// id, kept in raft.db and in the manifest (Host.SetRaftState). From then on the node starts only
// with that state, complete and no older than it is known to have been; otherwise the start ends
// with a LostError.
//
// The first start writes raft.db with its id under a temporary name and renames it, then writes the
// manifest, then starts raft, which may vote. A crash in between comes before any vote. A state
// written by a version without ids gets one.

// LostError is returned when the node of a data folder was a member and its raft state is missing,
// damaged or older than it was.
type LostError struct {
	What string // what is wrong, with the name of the file
	Dir  string // data folder
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%s: this node has lost its raft votes or a part of its raft log, and cannot continue as the same raft server. "+
		"Restore raft's files as they were when the node last ran, or rejoin as a new raft server that keeps its arrays: ndctl raft rejoin --dir %s", e.What, e.Dir)
}

// keyRaftID is the key of the state's id in raft.db.
const keyRaftID = "NdringState"

// raftFolder is where a node keeps its raft state, with what the manifest says about that state.
type raftFolder struct {
	dir      string // has a folder for each store
	store    string // the data folder's present store
	known    string // the state's id in the manifest; empty for none
	hasData  bool
	files    Files
	setState func(id string) error // writes the id to the manifest
	log      *slog.Logger
	logger   hclog.Logger
}

func (f *raftFolder) path() string { return filepath.Join(storeDir(f.dir, f.store), raftFile) }

func (f *raftFolder) lost(format string, args ...any) error {
	return &LostError{What: fmt.Sprintf(format, args...), Dir: filepath.Dir(f.dir)}
}

// open opens the folder's state, or creates the first one.
func (f *raftFolder) open(i *identity) (*stores, error) {
	dir := storeDir(f.dir, f.store)
	left, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(left) == 0 && f.known == "" && !f.mustHave(i) {
		if err := makeStores(dir, uuid.New().String(), f.logger); err != nil {
			return nil, err
		}
	}
	s, err := f.openExisting(i)
	if err != nil {
		return nil, err
	}
	if err := f.matchIDs(s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openExisting opens the state in the folder and checks that it is the right one.
func (f *raftFolder) openExisting(i *identity) (*stores, error) {
	info, err := os.Stat(f.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, f.lost("%s is missing", f.path())
	case err != nil:
		return nil, err
	case info.Size() == 0 && f.known != "":
		return nil, f.lost("%s is empty", f.path())
	}
	s, err := openStores(storeDir(f.dir, f.store), f.logger)
	var damaged *damagedError
	if errors.As(err, &damaged) {
		return nil, f.lost("%v", err)
	}
	if err != nil {
		return nil, err
	}
	if err := f.check(s, i); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// mustHave reports whether the folder must have a raft state, as far as a folder without a state id
// can tell: it has arrays, and the node neither bootstrapped a cluster around them nor brought them
// along as a new server.
func (f *raftFolder) mustHave(i *identity) bool {
	return f.hasData && i.Bootstrap == nil && len(i.FormerStores) == 0
}

// check returns a LostError unless a state is the folder's, complete, and no older than it is known
// to have been.
func (f *raftFolder) check(s *stores, i *identity) error {
	id, err := s.id()
	if err != nil {
		return f.lostIfDamaged(err)
	}
	there, err := raft.HasExistingState(s.logs, s.stable, s.snapshots)
	if err != nil {
		return f.lostIfDamaged(err)
	}
	switch {
	case f.known != "" && id == "":
		return f.lost("%s is empty", f.path())
	case f.known != "" && id != f.known:
		return f.lost("%s belongs to another data folder", f.path())
	case id == "" && !there && f.mustHave(i):
		return f.lost("%s is empty", f.path())
	}
	reached, err := checkLog(s)
	if err != nil {
		return f.lostIfDamaged(err)
	}
	return f.checkMark(id, reached)
}

// serversOf returns the servers of the cluster according to the log of an earlier server of this
// folder; none if there is no log.
func (f *raftFolder) serversOf(was string) ([]raft.Server, error) {
	_, store, err := parseServerID(was)
	if err != nil || f.dir == "" {
		return nil, err
	}
	servers, err := serversIn(storeDir(f.dir, store), was, f.log)
	return servers, f.lostIfDamaged(err)
}

func (f *raftFolder) lostIfDamaged(err error) error {
	var damaged *damagedError
	if errors.As(err, &damaged) {
		return f.lost("%v", err)
	}
	return err
}

// matchIDs makes the state and the manifest have the same id.
func (f *raftFolder) matchIDs(s *stores) error {
	id, err := s.id()
	if err != nil {
		return err
	}
	if id == "" {
		id = uuid.New().String()
		if err := s.stable.Set([]byte(keyRaftID), []byte(id)); err != nil {
			return err
		}
	}
	if id == f.known {
		return nil
	}
	if err := f.setState(id); err != nil {
		return err
	}
	f.known = id
	return nil
}

// id returns the id of the state; empty for none.
func (s *stores) id() (string, error) {
	b, err := s.stable.Get([]byte(keyRaftID))
	if err != nil && err.Error() != "not found" {
		return "", err
	}
	return string(b), nil
}

// makeStores creates an empty state with an id, atomically.
func makeStores(dir, id string, logger hclog.Logger) error {
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	s, err := openStores(fresh, logger)
	if err != nil {
		return err
	}
	if err := errors.Join(s.stable.Set([]byte(keyRaftID), []byte(id)), s.close(), syncDir(fresh)); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty folder
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// position is the end of a raft state.
type position struct{ Term, Index uint64 }

// checkLog reads all of a state and returns its position. The log must continue where the newest
// readable snapshot ends.
func checkLog(s *stores) (at position, err error) {
	damage := func(format string, args ...any) error { return &damagedError{s.path, boltDamage(format, args...)} }
	defer func() {
		if p := recover(); p != nil { // raft's decoder
			err = damage("%v", p)
		}
	}()
	if at.Term, err = s.stable.GetUint64([]byte(keyTerm)); err != nil && err.Error() != "not found" {
		return at, err
	}
	taken, err := newestSnapshot(s.snapshots)
	if err != nil {
		return at, damage("%v", err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		return at, err
	}
	for index := taken + 1; index <= last; index++ { // entries before it may have gaps: raft no longer reads them
		var entry raft.Log
		if err := s.logs.GetLog(index, &entry); err != nil {
			return at, damage("entry %d of the log cannot be read, and the newest readable snapshot ends at entry %d: %v", index, taken, err)
		}
		if entry.Index != index || entry.Term > at.Term || entry.Type == raft.LogCommand && !json.Valid(entry.Data) {
			return at, damage("entry %d is malformed", index)
		}
		if entry.Type == raft.LogConfiguration {
			raft.DecodeConfiguration(entry.Data)
		}
	}
	at.Index = max(taken, last)
	return at, nil
}

// newestSnapshot returns the index of the newest readable snapshot, with which raft will start; 0
// if there is no snapshot.
func newestSnapshot(snapshots raft.SnapshotStore) (uint64, error) {
	list, err := snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	for _, s := range list {
		_, content, err := snapshots.Open(s.ID) // compares checksums
		if err == nil {
			_, err = io.Copy(io.Discard, content)
			content.Close()
		}
		if err == nil {
			return s.Index, nil
		}
	}
	return 0, errors.New("no snapshot can be read")
}
