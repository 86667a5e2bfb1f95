package persistence

import (
	"errors"
	iofs "io/fs"
	"path"
	"sync"

	"github.com/ndring/ndring/persistence/vfs"
)

// reserveName is a file of zeros. When the disk is full it is removed, and its room is for a start, and for deletes: both need a little before they can free more.
const reserveName = "RESERVE"

// reserve is that file.
type reserve struct {
	disk *Disk
	size int64

	mu    sync.Mutex // guards all below
	kept  bool       // the file is there
	spent bool       // it was removed for what needed its room, and is not there again
}

// find notes whether an earlier start has left the file.
func (r *reserve) find() error {
	f, err := r.disk.fs.Open(r.path())
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

func (r *reserve) path() string { return path.Join(r.disk.dir, reserveName) }

// spend removes the file, and reports whether that has freed anything.
func (r *reserve) spend() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.kept || vfs.Discard(r.disk.fs, r.path()) != nil {
		return false
	}
	r.kept, r.spent = false, true
	r.disk.options.Log.Warn("the disk is full: what was kept back for deletes is being used", "dir", r.disk.dir, "bytes", r.size)
	return true
}

// fill makes the file again. A disk that is too full for it has none.
func (r *reserve) fill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept || r.size == 0 {
		return nil
	}
	if err := vfs.Discard(r.disk.fs, r.path()); err != nil {
		return err
	}
	f, err := r.disk.fs.Create(r.path())
	if err != nil {
		return err
	}
	if err = errors.Join(f.Allocate(r.size), f.Close()); err != nil {
		return errors.Join(err, vfs.Discard(r.disk.fs, r.path()))
	}
	r.kept, r.spent = true, false
	return nil
}

// withRoom does something that needs little room and must be possible on a full disk: if there is none, it is done once more with what was kept back.
func (d *Disk) withRoom(do func() error) error {
	err := do()
	if vfs.NoSpace(err) && d.reserve.spend() {
		err = do()
	}
	return err
}

// RefillReserve sets bytes aside for deletes on a full disk, unless they are there or free, what the disk has left, is not enough: others may have so much of it. It reports
// whether such bytes were used and are still missing: until then values must not take what was freed for deletes.
func (d *Disk) RefillReserve(free, others int64) (spent bool) {
	r := &d.reserve
	if free >= others+2*r.size {
		if err := r.fill(); err != nil && !vfs.NoSpace(err) {
			d.options.Log.Warn("no room can be kept back for deletes on a full disk", "err", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spent
}

// enter writes the manifest of this start. On a disk that is too full for it the folder can be read, and no record is written until there is room: as long as the
// manifest is that of the last run, the logs have to be, too.
func (d *Disk) enter() error {
	if err := d.reserve.find(); err != nil {
		return err
	}
	if free, err := d.fs.Free(d.dir); err == nil && free < d.reserve.size/4 { // others have to write for a start, too, such as raft
		d.reserve.spend()
	}
	err := d.withRoom(d.writeManifest)
	if d.unbegun = vfs.NoSpace(err) && !d.fresh; d.unbegun {
		d.options.Log.Error("the disk is full: the shards can be read, and nothing can be written before there is room", "dir", d.dir, "err", err)
		return nil
	}
	return err
}

// begin is called before a file of a shard is made. From now on the cluster stays what it is, since files name it.
func (d *Disk) begin() error {
	d.identity.Lock()
	defer d.identity.Unlock()
	if d.unbegun {
		if err := d.writeManifest(); err != nil {
			return err
		}
		d.unbegun = false
		d.options.Log.Info("the disk has room for this start: the folder can be written", "dir", d.dir)
	}
	d.hasData = true
	return nil
}
