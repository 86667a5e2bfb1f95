package persistence

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"slices"
	"sync/atomic"

	"github.com/ndring/ndring/persistence/vfs"
)

// Disk is the data folder of a node.
type Disk struct {
	fs      vfs.FS
	dir     string
	options Options
	lock    vfs.Lock

	counters counters
	identity Identity
	files    Files
	reserve  reserve
	volume   volume
	marks    marks
	logs     []*Log
	unread   atomic.Int64 // shards that Recover has not read

	// Set by the start.
	damage    []Damage // of files outside the shards
	powerLoss bool     // unsynced bytes may be missing
	wasClean  bool     // the last use synced everything
}

func newDisk(fs vfs.FS, dir string, options Options) *Disk {
	d := &Disk{
		fs: fs, dir: dir, options: options,
		identity: Identity{fs: fs, dir: dir, log: options.Log},
		files:    Files{fs: fs, dir: dir},
		reserve:  reserve{fs: fs, dir: dir, size: options.Reserve, log: options.Log},
		marks:    marks{fs: fs, dir: dir},
	}
	d.volume.onError = func(err error) {
		for _, l := range d.logs {
			if hasUnsynced(l) {
				_ = l.stop(err)
			}
		}
	}
	return d
}

// OpenDisk opens the folder of a node, or creates one.
func OpenDisk(fs vfs.FS, dir string, options Options) (*Disk, error) {
	options.setDefaults()
	d := newDisk(fs, dir, options)
	if err := fs.Mkdir(path.Join(dir, shardsDir)); err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	var err error
	if d.lock, err = fs.Lock(path.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	if d.volume.file, err = fs.Volume(dir); err == nil {
		err = d.start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use the data folder: %w", err), d.release())
	}
	return d, nil
}

// release unlocks the folder.
func (d *Disk) release() error { return errors.Join(d.volume.close(), d.lock.Close()) }

// start reads the manifest, or creates one, begins this start's run and lists what there is to
// recover.
func (d *Disk) start() error {
	m, err := d.readManifest()
	if err != nil {
		return err
	}
	d.wasClean, d.powerLoss = m.clean, !m.clean && m.bootID != d.options.BootID
	if !m.clean { // what a killed process left unsynced counts from now on, so it must not get lost later
		if err := d.volume.file.Sync(); err != nil {
			return err
		}
	}
	d.identity.begin(m, d.lock.ID(), &d.options)
	if err := d.reserve.prepareStart(); err != nil {
		return err
	}
	if err := d.identity.recordStart(&d.reserve); err != nil {
		return err
	}
	if err := d.fs.SyncDir(path.Dir(path.Clean(d.dir))); err != nil { // the folder may be new
		return err
	}
	return d.openLogs()
}

// readManifest reads the manifest, or creates one for a new folder. It adopts another number of
// shards if nothing depends on the former one.
func (d *Disk) readManifest() (nodeManifest, error) {
	m, err := readNodeManifest(d.fs, d.dir)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		shards, err := d.fs.List(path.Join(d.dir, shardsDir))
		if err != nil {
			return m, err
		}
		if len(shards) > 0 {
			return m, fmt.Errorf("it has shards, but no %s: run ndring check --repair --shards N to rebuild it", manifestName)
		}
		m = nodeManifest{shards: d.options.Shards, clean: true}
		d.options.Rand(m.cluster[:])
		d.options.Rand(m.store[:])
		d.identity.fresh = true
	case err != nil:
		return m, err
	case m.shards != d.options.Shards:
		// An earlier start that came to nothing does not fix it: neither was the node a member of a
		// cluster, nor did a shard get a file.
		fixed := !m.raft.IsZero() || d.options.IsMember != nil && d.options.IsMember(d)
		if !fixed {
			if fixed, err = haveFiles(d.fs, path.Join(d.dir, shardsDir)); err != nil {
				return m, err
			}
		}
		if fixed {
			return m, fmt.Errorf("it has %d shards, not %d: their number is fixed when a cluster is made", m.shards, d.options.Shards)
		}
		m.shards = d.options.Shards
	}
	return m, nil
}

// haveFiles reports whether there is anything in the folders within a folder.
func haveFiles(fs vfs.FS, dir string) (bool, error) {
	folders, err := fs.List(dir)
	if err != nil {
		return false, err
	}
	for _, f := range folders {
		if files, err := fs.List(path.Join(dir, f.Name)); err != nil || len(files) > 0 {
			return true, err
		}
	}
	return false, nil
}

// openLogs reads the marks and lists the files of all shards.
func (d *Disk) openLogs() error {
	var err error
	if d.damage, err = d.marks.load(d.identity.m.cluster, d.options.Shards); err != nil {
		return err
	}
	d.unread.Store(int64(d.options.Shards))
	for id := range d.options.Shards {
		l := newLog(d, id)
		if l.reader.listing, err = scanDir(d.fs, l.folder.dir); err != nil {
			return err
		}
		d.logs = append(d.logs, l)
		d.counters.toRecover.Add(l.reader.listing.toRecover())
		d.identity.hasData = d.identity.hasData || l.reader.listing.any
	}
	return nil
}

func newLog(d *Disk, shard int) *Log {
	f := &folder{
		fs: d.fs, dir: shardDir(d.dir, shard), reserve: &d.reserve, volume: &d.volume, keepAll: d.options.KeepAll, log: d.options.Log,
	}
	m := d.marks.expected[shard]
	l := &Log{
		shard: shard, disk: d, folder: f, blobs: newBlobStore(f, d.options.random, &d.counters),
		reader: &Reader{
			fs: d.fs, dir: f.dir, shard: shard, identity: &d.identity, mark: m, recovered: &d.counters.recovered,
			policy: policy{powerLoss: d.powerLoss, wasClean: d.wasClean, mark: m.recordID},
		},
	}
	l.files.segmentBytes.sum, l.files.snapshotBytes.sum = &d.counters.files, &d.counters.files
	return l
}

// Dir returns the path of the folder.
func (d *Disk) Dir() string { return d.dir }

// Identity returns whose folder it is.
func (d *Disk) Identity() *Identity { return &d.identity }

// Files returns the small files of the cluster.
func (d *Disk) Files() *Files { return &d.files }

// Shards returns their number.
func (d *Disk) Shards() int { return len(d.logs) }

// Log returns the log of a shard.
func (d *Disk) Log(shard int) *Log { return d.logs[shard] }

// Reader returns what reads the files that a shard had when the folder was opened.
func (d *Disk) Reader(shard int) *Reader { return d.logs[shard].reader }

// Damage returns the damage to files outside the shards.
func (d *Disk) Damage() []Damage { return d.damage }

// PowerLoss reports whether the machine has restarted since the last use, which did not end
// cleanly: unsynced bytes may be missing.
func (d *Disk) PowerLoss() bool { return d.powerLoss }

// Progress returns how many bytes have been recovered, and how many there are in all.
func (d *Disk) Progress() (done, total int64) {
	return d.counters.recovered.Load(), d.counters.toRecover.Load()
}

// Bytes returns how many bytes the files of all shards take.
func (d *Disk) Bytes() int64 { return d.counters.files.Load() }

// Staged returns how many of these are in blobs of writes that are under way.
func (d *Disk) Staged() int64 { return d.counters.staged.Load() }

// Written returns how many bytes were written since the start.
func (d *Disk) Written() int64 { return d.counters.written.Load() }

// Syncs returns how many logs were synced since the start.
func (d *Disk) Syncs() int64 { return d.counters.syncs.Load() }

// Free returns how many bytes the file system has left.
func (d *Disk) Free() (int64, error) { return d.fs.Free(d.dir) }

// RefillReserve sets the reserve aside again if free, the bytes that the disk has left, suffices
// for it and for the bytes that others may claim. It reports whether the reserve was spent and is
// still missing: until it is back, values must not take the space that was freed for deletes.
func (d *Disk) RefillReserve(free, others int64) (spent bool) { return d.reserve.refill(free, others) }

// Close closes the folder. With clean it syncs every log, in a few syncs however many there are, so
// that the next start knows that nothing is missing.
func (d *Disk) Close(clean bool) error {
	var err error
	if clean {
		err = d.stopCleanly()
	}
	for _, l := range d.logs {
		l.close()
	}
	return errors.Join(err, d.release())
}

// stopCleanly syncs every log and records where each ends, so that the next start trusts all of it.
// It would take an obsolete file that comes back for a damaged end of the log, if some of its bytes
// were never synced.
func (d *Disk) stopCleanly() error {
	for _, l := range d.logs {
		if err := cutTorn(l); err != nil {
			return err
		}
	}
	d.SyncAll()
	if slices.ContainsFunc(d.logs, func(l *Log) bool { return l.folder.state().removed }) {
		if err := d.volume.sync(); err != nil {
			return err
		}
	}
	cluster := d.identity.Cluster()
	texts := map[string][]byte{}
	for _, l := range d.logs {
		if err := l.Err(); err != nil {
			return err
		}
		if b := finalManifest(l, cluster); b != nil {
			texts[l.folder.path(manifestName)] = b
		}
	}
	m := &d.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	next, due := m.next(d.logs, true)
	if due {
		texts[m.path()] = encodeMarks(cluster, next)
	}
	if err := replaceFiles(d.fs, &d.volume, texts); err != nil {
		return err
	}
	m.written = next
	return d.identity.recordStop()
}
