package persistence

import (
	"errors"
	iofs "io/fs"
	"slices"
	"sync"

	"github.com/ndring/ndring/persistence/vfs"
)

// blob is a file with one payload.
type blob struct {
	id    BlobID
	bytes int64
	state blobState
	until uint64   // of a dead blob: seq of the change that superseded it; 0 if no start can need it
	pins  int      // snapshots that refer to it
	file  vfs.File // nil once it is synced

	crc     uint32
	known   bool // a record has given the CRC
	damaged bool
}

type blobState uint8

const (
	staged blobState = iota // no record names it yet
	live                    // it holds the value of a key
	dead                    // a record gives its key another value, or none
)

// close closes the file of a blob that is synced, or about to be removed.
func (b *blob) close() {
	if b.file != nil {
		_ = b.file.Close() // no data can be lost
		b.file = nil
	}
}

// blobStore owns the blobs of a shard, from the first byte to the removal of the file.
//
// Invariant: a blob is removed only when it is dead, no snapshot pins it, and a synced record or
// snapshot says that the change that superseded it is committed. That the record of this change is
// synced is not enough: a start shows what it knows to be committed.
type blobStore struct {
	folder *folder
	random func() uint64
	count  *counters

	mu            sync.Mutex // guards all below, and each blob; a leaf
	all           map[BlobID]*blob
	pendingDelete []BlobID // dead, not pinned and not removed yet
	live, dead    gauge    // bytes; staged blobs count as live
}

func newBlobStore(f *folder, random func() uint64, count *counters) *blobStore {
	return &blobStore{
		folder: f, random: random, count: count, all: map[BlobID]*blob{},
		live: gauge{sum: &count.files}, dead: gauge{sum: &count.files},
	}
}

// adopt takes over the blobs that a recovery kept.
func (s *blobStore) adopt(kept []*blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range kept {
		s.all[b.id] = b
		if b.state == live {
			s.live.add(b.bytes)
		} else {
			s.dead.add(b.bytes)
		}
	}
}

// stage writes a payload to a new blob, which is staged, or dead and pinned for a snapshot.
func (s *blobStore) stage(payload [][]byte, state blobState, pins int) (BlobID, error) {
	if err := s.folder.ensureBlobs(); err != nil {
		return 0, err
	}
	id, f, err := s.create()
	if err != nil {
		return 0, err
	}
	b := &blob{id: id, state: state, pins: pins, file: f}
	for _, p := range payload {
		b.bytes += int64(len(p))
	}
	if err := f.WriteAt(payload, 0); err != nil {
		return 0, errors.Join(err, f.Close(), vfs.Discard(s.folder.fs, s.path(id)))
	}
	if state == dead { // its snapshot syncs it soon
		f.StartWriteback()
	}
	s.count.written.Add(b.bytes)
	s.folder.blobCreated()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[id] = b
	if state == dead {
		s.dead.add(b.bytes)
	} else {
		s.count.staged.Add(b.bytes)
		s.live.add(b.bytes)
	}
	return id, nil
}

func (s *blobStore) path(id BlobID) string { return s.folder.path(blobName(id)) }

// create creates a file with an unused random name.
func (s *blobStore) create() (BlobID, vfs.File, error) {
	for {
		id := BlobID(s.random())
		if id == 0 {
			continue
		}
		f, err := s.folder.fs.Create(s.path(id))
		if !errors.Is(err, iofs.ErrExist) {
			return id, f, err
		}
	}
}

// abandon removes a staged blob.
func (s *blobStore) abandon(id BlobID) {
	s.mu.Lock()
	b := s.all[id]
	delete(s.all, id)
	s.live.add(-b.bytes)
	s.count.staged.Add(-b.bytes)
	s.mu.Unlock()
	b.close() // if the removal fails, the next start removes it
	_ = vfs.Discard(s.folder.fs, s.path(id))
}

// setLive records that a record names a blob.
func (s *blobStore) setLive(id BlobID, crc uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.all[id]
	if b.state == staged {
		s.count.staged.Add(-b.bytes)
	}
	b.state, b.crc, b.known = live, crc, true
}

// supersede records that the committed change with a seq has replaced the value in a blob.
func (s *blobStore) supersede(id BlobID, until uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.all[id]
	if b == nil || b.state != live {
		return
	}
	b.until, b.state = until, dead
	s.live.moveTo(&s.dead, b.bytes)
	s.pendingDelete = append(s.pendingDelete, id)
}

// removeDead removes the dead blobs that no recovery can need, now that what is synced says that the
// changes up to a seq are committed. The next call retries a file that cannot be removed. The caller
// holds the log's syncing.
func (s *blobStore) removeDead(commit uint64) {
	for _, b := range s.takeRemovable(commit) {
		err := vfs.Discard(s.folder.fs, s.path(b.id))
		s.mu.Lock()
		if err != nil {
			s.pendingDelete = append(s.pendingDelete, b.id)
		} else {
			delete(s.all, b.id)
			s.dead.add(-b.bytes)
		}
		s.mu.Unlock()
	}
}

// takeRemovable takes the blobs to remove out of pendingDelete and closes their files.
func (s *blobStore) takeRemovable(commit uint64) (removable []*blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.pendingDelete[:0]
	for _, id := range s.pendingDelete {
		switch b := s.all[id]; {
		case b == nil || b.state != dead || b.pins > 0:
		case b.until <= commit || flawed("blobEarly"):
			b.close()
			removable = append(removable, b)
		default:
			left = append(left, id)
		}
	}
	s.pendingDelete = left
	return removable
}

// pin keeps blobs for a snapshot until unpin.
func (s *blobStore) pin(ids []BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if b := s.all[id]; b != nil {
			b.pins++
		}
	}
}

func (s *blobStore) unpin(ids []BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		b := s.all[id]
		if b == nil {
			continue
		}
		if b.pins--; b.pins == 0 && b.state == dead {
			s.pendingDelete = append(s.pendingDelete, id)
		}
	}
}

// replace lets the blobs of an installed copy, whose records give their CRCs, take the place of all
// others but the staged ones. The copy's snapshot pins them.
func (s *blobStore) replace(crcs map[BlobID]uint32, installed []BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range installed {
		b := s.all[id]
		s.count.staged.Add(-b.bytes)
		b.pins = 1
		if b.crc, b.known = crcs[id]; b.known {
			b.state = live
		} else { // the copy's writer has staged it for nothing
			b.state = dead
			s.live.moveTo(&s.dead, b.bytes)
		}
	}
	s.pendingDelete = s.pendingDelete[:0]
	for id, b := range s.all {
		if b.state == staged || slices.Contains(installed, id) {
			continue
		}
		if b.state == live {
			s.live.moveTo(&s.dead, b.bytes)
		}
		b.state, b.until, b.pins = dead, 0, 0
		s.pendingDelete = append(s.pendingDelete, id)
	}
}

// unsynced returns the blobs that a sync of the log must sync first, with which the changes up to
// commit are known to be committed. Of the dead blobs without a pin these are the ones that a later
// change has superseded.
func (s *blobStore) unsynced(commit uint64) (blobs []*blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.all {
		if b.file != nil && (b.state == live || b.pins > 0 || b.state == dead && b.until > commit) {
			blobs = append(blobs, b)
		}
	}
	return blobs
}

// unsyncedOf returns which of some blobs are not synced yet.
func (s *blobStore) unsyncedOf(ids []BlobID) (blobs []*blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if b := s.all[id]; b != nil && b.file != nil {
			blobs = append(blobs, b)
		}
	}
	return blobs
}

// closeSynced closes the files of blobs that were synced. The caller holds the log's syncing.
func (s *blobStore) closeSynced(blobs []*blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range blobs {
		b.close()
	}
}

// hasUnsynced reports whether any blob, staged ones included, may be missing after a loss of power.
func (s *blobStore) hasUnsynced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.all {
		if b.file != nil {
			return true
		}
	}
	return false
}

// sizes returns the bytes of dead blobs and of all.
func (s *blobStore) sizes() (dead, all int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead.bytes, s.live.bytes + s.dead.bytes
}

func (s *blobStore) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.all {
		b.close()
	}
}

// checkable returns copies of the blobs that can be scrubbed: synced, live, with a known CRC, not
// known to be damaged.
func (s *blobStore) checkable() (blobs []blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.all {
		if b.file == nil && b.state == live && !b.damaged && b.known {
			blobs = append(blobs, *b)
		}
	}
	return blobs
}

// isLive reports whether a blob holds the value of a key.
func (s *blobStore) isLive(id BlobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.all[id]
	return b != nil && b.state == live
}

func (s *blobStore) setDamaged(id BlobID, damaged bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.all[id]; b != nil {
		b.damaged = damaged
	}
}

func (s *blobStore) damaged() (ids []BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, b := range s.all {
		if b.damaged {
			ids = append(ids, id)
		}
	}
	return ids
}

// rewrite writes a blob again; the payload must be what it was. It quarantines the
// damaged file. The caller holds the log's syncing.
func (s *blobStore) rewrite(id BlobID, payload [][]byte) error {
	fs, file := s.folder.fs, s.path(id)
	temp := file + tempSuffix
	if err := vfs.Discard(fs, temp); err != nil {
		return err
	}
	f, err := fs.Create(temp)
	if err != nil {
		return err
	}
	err = f.WriteAt(payload, 0)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.folder.quarantine(blobName(id))
	}
	if err == nil {
		err = fs.Rename(temp, file)
	}
	if err == nil {
		err = fs.SyncDir(s.folder.path(blobsDir))
	}
	if err != nil {
		return errors.Join(err, vfs.Discard(fs, temp))
	}
	s.setDamaged(id, false)
	return nil
}
