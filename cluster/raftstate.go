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

// A server of raft that has lost its term, its vote or a part of its log would decide again what is decided: it may vote for one who knows less than it did. So the
// first raft state of a folder gets an id, which stands in raft.db and in the folder's manifest (Host.SetRaftState). From then on a start goes on with that state, whole and
// no older than it is known to have been, or not at all (LostError).
//
// At the first start the order is: raft.db with its id, under another name, which then is renamed; the manifest; then raft, which may vote. A process that ends in
// between has voted for nobody. A folder of a version without ids has a state without one, which is given one.

// LostError is returned when a folder has had a part in a cluster, and what raft kept in it is missing, damaged or older than it was.
type LostError struct {
	What string // with the name of the file
	Dir  string // data folder
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%s: this node has forgotten how it has voted, or what it was told of the cluster's decisions, and cannot go on as the server that it was. "+
		"Put raft's files back as they were when the node last ran, or have it come back as another server, with its arrays: ndctl raft rejoin --dir %s", e.What, e.Dir)
}

// keyRaftID is where raft.db has the id of the state.
const keyRaftID = "NdringState"

// raftFolder is where a node keeps raft's state, and what it knows of that from elsewhere.
type raftFolder struct {
	dir     string // of all stores
	store   string // that the folder has
	known   string // id that the manifest has; empty for none
	hasData bool
	files   Files
	found   func(id string) error // writes it to the manifest
	log     *slog.Logger
	logger  hclog.Logger
}

func (f *raftFolder) path() string { return filepath.Join(raftDirOf(f.dir, f.store), raftFile) }

func (f *raftFolder) lost(format string, args ...any) error {
	return &LostError{What: fmt.Sprintf(format, args...), Dir: filepath.Dir(f.dir)}
}

// open opens the state that belongs to the folder, or makes the first one.
func (f *raftFolder) open(i *identity) (*stores, error) {
	dir := raftDirOf(f.dir, f.store)
	left, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(left) == 0 && f.known == "" && !f.mustHave(i) {
		if err := makeStores(dir, uuid.New().String(), f.logger); err != nil {
			return nil, err
		}
	}
	s, err := f.openOld(i)
	if err != nil {
		return nil, err
	}
	if err := f.settle(s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openOld opens the state that is there, which has to be the folder's.
func (f *raftFolder) openOld(i *identity) (*stores, error) {
	info, err := os.Stat(f.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, f.lost("%s is missing", f.path())
	case err != nil:
		return nil, err
	case info.Size() == 0 && f.known != "":
		return nil, f.lost("%s is empty", f.path())
	}
	s, err := openStores(raftDirOf(f.dir, f.store), f.logger)
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

// mustHave reports whether the folder has had a raft state, as far as versions that gave it no id have left traces: there are arrays, and the node neither made a cluster of
// them nor brought them along as another server.
func (f *raftFolder) mustHave(i *identity) bool { return f.hasData && i.Made == nil && len(i.Was) == 0 }

// check returns a LostError unless a state is the folder's, whole, and as new as it should be.
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
		return f.lost("%s is of another folder", f.path())
	case id == "" && !there && f.mustHave(i):
		return f.lost("%s is empty", f.path())
	}
	reached, err := checkLog(s)
	if err != nil {
		return f.lostIfDamaged(err)
	}
	return f.checkMark(id, reached)
}

// serversOf returns the servers of the cluster as far as an earlier store of the folder knows them, which was that server; none, if it has no log.
func (f *raftFolder) serversOf(was string) ([]raft.Server, error) {
	_, store, err := parseServerID(was)
	if err != nil || f.dir == "" {
		return nil, err
	}
	servers, err := serversIn(raftDirOf(f.dir, store), was, f.log)
	return servers, f.lostIfDamaged(err)
}

func (f *raftFolder) lostIfDamaged(err error) error {
	var damaged *damagedError
	if errors.As(err, &damaged) {
		return f.lost("%v", err)
	}
	return err
}

// settle sees to it that state and manifest have one id.
func (f *raftFolder) settle(s *stores) error {
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
	if err := f.found(id); err != nil {
		return err
	}
	f.known = id
	return nil
}

// id returns that of the state; empty for none.
func (s *stores) id() (string, error) {
	b, err := s.stable.Get([]byte(keyRaftID))
	if err != nil && err.Error() != "not found" {
		return "", err
	}
	return string(b), nil
}

// makeStores makes an empty state with an id, all of it or nothing.
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
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is empty
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

// position is how far a state has come.
type position struct{ Term, Index uint64 }

// checkLog reads all of a state, and returns how far it has come. The log must go on where the newest snapshot ends that can be read.
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
	for index := taken + 1; index <= last; index++ { // what stands before need not be without gaps, and counts no more
		var entry raft.Log
		if err := s.logs.GetLog(index, &entry); err != nil {
			return at, damage("entry %d of its log cannot be read, and the newest snapshot that can be ends with entry %d: %v", index, taken, err)
		}
		if entry.Index != index || entry.Term > at.Term || entry.Type == raft.LogCommand && !json.Valid(entry.Data) {
			return at, damage("entry %d makes no sense", index)
		}
		if entry.Type == raft.LogConfiguration {
			raft.DecodeConfiguration(entry.Data)
		}
	}
	at.Index = max(taken, last)
	return at, nil
}

// newestSnapshot returns the index of the newest snapshot that can be read, which raft will begin with; 0 if there is none.
func newestSnapshot(snapshots raft.SnapshotStore) (uint64, error) {
	list, err := snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	for _, s := range list {
		_, content, err := snapshots.Open(s.ID) // which compares checksums
		if err == nil {
			_, err = io.Copy(io.Discard, content)
			content.Close()
		}
		if err == nil {
			return s.Index, nil
		}
	}
	return 0, errors.New("none of its snapshots can be read")
}
