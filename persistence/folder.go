package persistence

import (
	"errors"
	"io"
	iofs "io/fs"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"sync"

	"github.com/ndring/ndring/persistence/vfs"
)

// folder is the folder of a shard. It creates it, knows which of its names are not synced yet, and
// removes or quarantines files that no longer count.
type folder struct {
	fs      vfs.FS
	dir     string
	reserve *reserve
	volume  *volume
	keepAll bool // quarantine files instead of removing them
	log     *slog.Logger

	mu    sync.Mutex // guards names; a leaf
	names names
}

// names says which folders exist, and which names are not synced yet.
type names struct {
	made, madeBlobs bool // the shard's folder and its folder of blobs exist
	parent          bool // the name of the shard's folder is not synced
	files, blobs    bool // names in the shard's folder, and in its folder of blobs, are not synced
	removed         bool // the removal of obsolete files is not synced. They may come back, which matters only after a clean stop
	changes         int  // counts changes of the four above
}

func (n names) unsynced() bool { return n.parent || n.files || n.blobs }

func (f *folder) path(name string) string { return path.Join(f.dir, name) }

func (f *folder) state() names {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names
}

func (f *folder) change(do func(*names)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.names)
	f.names.changes++
}

// adopt sets what a recovery found to exist.
func (f *folder) adopt(blobs bool) {
	f.change(func(n *names) { n.made, n.madeBlobs = true, blobs })
}

// ensure creates the folder, if it does not exist. The first record of a shard does that.
func (f *folder) ensure() error {
	if f.state().made {
		return nil
	}
	if err := f.fs.Mkdir(f.dir); err != nil {
		return err
	}
	f.change(func(n *names) { n.made, n.parent = true, true })
	return nil
}

// ensureBlobs creates the folder of blobs, if it does not exist.
func (f *folder) ensureBlobs() error {
	if err := f.ensure(); err != nil {
		return err
	}
	if f.state().madeBlobs {
		return nil
	}
	if err := f.fs.Mkdir(f.path(blobsDir)); err != nil {
		return err
	}
	f.change(func(n *names) { n.madeBlobs, n.files = true, true })
	return nil
}

// fileCreated and blobCreated record a name that is not synced.
func (f *folder) fileCreated() { f.change(func(n *names) { n.files = true }) }
func (f *folder) blobCreated() { f.change(func(n *names) { n.blobs = true }) }

// namesSynced records that the names were synced as they were then. If there is a newer one, all
// stay unsynced.
func (f *folder) namesSynced(then names) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names.changes == then.changes {
		f.names.parent, f.names.files, f.names.blobs, f.names.removed = false, false, false, false
	}
}

// sync syncs files in an order in which each exists before anything refers to it. The caller holds
// the log's syncing.
//
// Syncing a folder opens it. Without a file descriptor for that nothing was tried, so nothing is
// unknown, and the volume, which is open, is synced instead.
func (f *folder) sync(blobs []*blob, segments []*segment, names names) error {
	err := f.syncEach(blobs, segments, names)
	if vfs.NoDescriptors(err) {
		return f.volume.sync()
	}
	return err
}

func (f *folder) syncEach(blobs []*blob, segments []*segment, names names) error {
	for _, b := range blobs {
		if err := b.file.Sync(); err != nil {
			return err
		}
	}
	if names.blobs {
		if err := f.fs.SyncDir(f.path(blobsDir)); err != nil {
			return err
		}
	}
	for _, s := range segments {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	if names.files || names.parent || names.removed {
		if err := f.fs.SyncDir(f.dir); err != nil {
			return err
		}
	}
	if names.parent {
		return f.fs.SyncDir(path.Dir(f.dir))
	}
	return nil
}

// syncRemoved makes the removal of files survive a loss of power, also of those that went to the
// quarantine.
func (f *folder) syncRemoved() error {
	err := f.fs.SyncDir(f.path(quarantineName))
	if errors.Is(err, iofs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = f.fs.SyncDir(f.dir)
	}
	if vfs.NoDescriptors(err) {
		return f.volume.sync()
	}
	return err
}

// retire removes an obsolete file, or quarantines it if it is damaged. The next start
// retries what fails.
func (f *folder) retire(name string, damaged bool) {
	put := f.discard
	if damaged {
		put = f.quarantine
	}
	f.change(func(n *names) { n.removed = true })
	if err := put(name); err != nil {
		f.log.Warn("cannot remove obsolete file before next start", "file", f.path(name), "err", err)
	}
}

// discard removes a file that is not needed; with keepAll it quarantines it.
func (f *folder) discard(name string) error {
	if f.keepAll {
		return f.quarantine(name)
	}
	return vfs.Discard(f.fs, f.path(name))
}

// quarantine moves a file to where no recovery looks, under a name that says what it was.
func (f *folder) quarantine(name string) error {
	dir := f.path(quarantineName)
	if err := f.reserve.use(func() error { return f.fs.Mkdir(dir) }); err != nil {
		return err
	}
	files, err := f.fs.List(dir)
	if err != nil {
		return err
	}
	base := path.Base(name)
	taken := func(name string) bool {
		return slices.ContainsFunc(files, func(i vfs.Info) bool { return i.Name == name })
	}
	to := base
	for n := 2; taken(to); n++ {
		to = base + "." + strconv.Itoa(n)
	}
	err = f.fs.Rename(f.path(name), path.Join(dir, to))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err == nil {
		f.log.Warn("file quarantined", "file", f.path(name), "as", path.Join(dir, to))
	}
	return err
}

// truncate cuts off a file at an offset. With keepAll, it quarantines what it cuts off.
func (f *folder) truncate(name string, at int64) error {
	file, err := f.fs.Open(f.path(name))
	if err != nil {
		return err
	}
	if f.keepAll {
		err = f.keepTail(file, name, at)
	}
	if err == nil {
		err = file.Truncate(at)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (f *folder) keepTail(file vfs.File, name string, at int64) error {
	size, err := file.Size()
	if err != nil {
		return err
	}
	b := make([]byte, size-at)
	if _, err := file.ReadAt(b, at); err != nil && err != io.EOF {
		return err
	}
	tail := name + ".tail-" + strconv.FormatInt(at, 10)
	if err := vfs.WriteFile(f.fs, f.path(tail), b); err != nil {
		return err
	}
	return f.quarantine(tail)
}
