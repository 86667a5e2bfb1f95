package persistence

import (
	"errors"
	iofs "io/fs"
	"log/slog"
	"path"
	"sync"

	"github.com/ndring/ndring/persistence/vfs"
)

// reserve is a file of zeros. When the disk is full, removing it makes space for a start and for
// deletes: both write a little before they free more.
type reserve struct {
	fs   vfs.FS
	dir  string
	size int64 // bytes; 0 for no reserve
	log  *slog.Logger

	mu    sync.Mutex // guards all below
	kept  bool       // the file exists
	spent bool       // it was removed for its space, and has not been created again
}

// find looks for the file of an earlier start.
func (r *reserve) find() error {
	f, err := r.fs.Open(r.path())
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	r.kept = size > 0
	return errors.Join(err, f.Close())
}

func (r *reserve) path() string { return path.Join(r.dir, reserveName) }

// spend removes the file, and reports whether that has freed anything.
func (r *reserve) spend() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.kept || vfs.Discard(r.fs, r.path()) != nil {
		return false
	}
	r.kept, r.spent = false, true
	r.log.Warn("disk full: using the reserve for deletes", "dir", r.dir, "bytes", r.size)
	return true
}

// fill creates the file again.
func (r *reserve) fill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept || r.size == 0 {
		return nil
	}
	if err := vfs.Discard(r.fs, r.path()); err != nil {
		return err
	}
	f, err := r.fs.Create(r.path())
	if err != nil {
		return err
	}
	if err = errors.Join(f.Allocate(r.size), f.Close()); err != nil {
		return errors.Join(err, vfs.Discard(r.fs, r.path()))
	}
	r.kept, r.spent = true, false
	return nil
}

// use does something that takes little space and must be possible on a full disk: if there is none,
// it spends the reserve and tries once more.
func (r *reserve) use(do func() error) error {
	err := do()
	if vfs.NoSpace(err) && r.spend() {
		err = do()
	}
	return err
}

// prepareStart finds the reserve, and spends it if the start may not fit on the disk: others, such
// as raft, write for a start, too.
func (r *reserve) prepareStart() error {
	if err := r.find(); err != nil {
		return err
	}
	if free, err := r.fs.Free(r.dir); err == nil && free < r.size/4 {
		r.spend()
	}
	return nil
}

// refill creates the file again if the disk has enough bytes free beyond those that others may claim.
// It reports whether the reserve was spent and is still missing.
func (r *reserve) refill(free, others int64) (spent bool) {
	if free >= others+2*r.size {
		if err := r.fill(); err != nil && !vfs.NoSpace(err) {
			r.log.Warn("cannot set the reserve for deletes aside", "dir", r.dir, "err", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spent
}
