package persistence

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path"

	"github.com/ndring/ndring/persistence/vfs"
)

// blob is a file that holds one payload.
type blob struct {
	id    BlobID
	bytes int64
	state blobState
	until Position // of a dead one: with that position synced, no recovery wants it
	pins  int      // snapshots that refer to it
	file  vfs.File // until it is synced

	crc     uint32 // if a record has said it
	known   bool
	damaged bool
}

type blobState uint8

const (
	staged blobState = iota // no record refers to it yet
	live
	dead // a record says that its key has another value, or none
)

// Stage writes a large payload to a file, for a record to refer to. It may be called at any time; what follows is Append, or Abandon.
func (l *Log) Stage(payload [][]byte) (BlobID, error) {
	return l.stage(payload, staged, 0)
}

func (l *Log) stage(payload [][]byte, state blobState, pins int) (BlobID, error) {
	if err := l.Err(); err != nil {
		return 0, err
	}
	if err := l.makeBlobDir(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrWrite, err)
	}
	id, f, err := l.createBlob()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrWrite, err)
	}
	b := &blob{id: id, state: state, pins: pins, file: f}
	for _, p := range payload {
		b.bytes += int64(len(p))
	}
	if err := f.WriteAt(payload, 0); err != nil {
		return 0, errors.Join(fmt.Errorf("%w: %w", ErrWrite, err), f.Close(), vfs.Discard(l.disk.fs, l.blobPath(id)))
	}
	if state == dead { // of a snapshot, which waits for it soon
		f.StartWriteback()
	}
	l.disk.written.Add(b.bytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blobs[id] = b
	l.dirs.blobs = true
	l.dirs.changes++
	if state == dead {
		l.count(&l.bytes.dead, b.bytes)
	} else {
		l.disk.staged.Add(b.bytes)
		l.count(&l.bytes.live, b.bytes)
	}
	return id, nil
}

func (l *Log) blobPath(id BlobID) string { return path.Join(l.dir, blobsDir, id.String()) }

// createBlob makes a file with a name that no other has.
func (l *Log) createBlob() (BlobID, vfs.File, error) {
	for {
		id := BlobID(l.disk.random())
		if id == 0 {
			continue
		}
		f, err := l.disk.fs.Create(l.blobPath(id))
		if !errors.Is(err, iofs.ErrExist) {
			return id, f, err
		}
	}
}

func (l *Log) makeBlobDir() error {
	if err := l.makeDir(); err != nil {
		return err
	}
	l.mu.Lock()
	made := l.dirs.madeBlobs
	l.mu.Unlock()
	if made {
		return nil
	}
	if err := l.disk.fs.Mkdir(path.Join(l.dir, blobsDir)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirs.madeBlobs, l.dirs.names = true, true
	l.dirs.changes++
	return nil
}

// Abandon removes a blob that no record refers to after all.
func (l *Log) Abandon(id BlobID) {
	l.mu.Lock()
	b := l.blobs[id]
	delete(l.blobs, id)
	l.count(&l.bytes.live, -b.bytes)
	l.disk.staged.Add(-b.bytes)
	l.mu.Unlock()
	_ = b.file.Close() // it goes; if it cannot, the next start removes it
	_ = vfs.Discard(l.disk.fs, l.blobPath(id))
}

// Supersede says that what was written so far has taken the place of the value in a blob.
func (l *Log) Supersede(id BlobID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.blobs[id]
	if b == nil || b.state != live {
		return
	}
	b.until, b.state = l.written, dead
	l.bytes.live -= b.bytes
	l.bytes.dead += b.bytes
	l.dying = append(l.dying, id)
}

// bury removes the dead blobs that nobody can want any more. A file that cannot be removed is tried again with the next one. Syncing is held.
func (l *Log) bury() {
	l.mu.Lock()
	var gone []*blob
	left := l.dying[:0]
	for _, id := range l.dying {
		switch b := l.blobs[id]; {
		case b == nil || b.state != dead:
		case b.pins == 0 && b.until <= l.synced:
			gone = append(gone, b)
		case b.pins == 0:
			left = append(left, id)
		} // with pins, unpin brings it back
	}
	l.dying = left
	l.mu.Unlock()
	for _, b := range gone {
		l.mu.Lock()
		b.close()
		l.mu.Unlock()
		err := vfs.Discard(l.disk.fs, l.blobPath(b.id))
		l.mu.Lock()
		if err != nil {
			l.dying = append(l.dying, b.id)
		} else {
			delete(l.blobs, b.id)
			l.count(&l.bytes.dead, -b.bytes)
		}
		l.mu.Unlock()
	}
}

// pin keeps blobs until unpin. The lock is held.
func (l *Log) pin(ids []BlobID) {
	for _, id := range ids {
		if b := l.blobs[id]; b != nil {
			b.pins++
		}
	}
}

// unpin is called without syncing.
func (l *Log) unpin(ids []BlobID) {
	l.mu.Lock()
	for _, id := range ids {
		b := l.blobs[id]
		if b == nil {
			continue
		}
		if b.pins--; b.pins == 0 && b.state == dead {
			l.dying = append(l.dying, id)
		}
	}
	l.mu.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.bury()
}
