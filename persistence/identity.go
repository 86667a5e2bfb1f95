package persistence

import (
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence/vfs"
)

// ErrHasData is returned when a data folder is to join another cluster although its shards have data.
var ErrHasData = errors.New("the data folder has data of its cluster")

// Identity is what the MANIFEST of a data folder says: whose folder it is, and which start of its
// node this is.
type Identity struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	fresh    bool     // this start wrote the folder's first manifest
	starts   []uint64 // see Starts
	sameLock bool     // the machine and the lock file are those of the last start
	bootID   string   // of the machine now
	noLog    bool     // this run appends no records, so the next start is unclean whatever happens

	mu      sync.Mutex   // guards writing the manifest, and all below
	unclean doubt        // see Unclean. The manifest has more if noLog: what the next start has to doubt
	m       nodeManifest // Invariant: once hasData is set, m.cluster never changes
	hasData bool         // files may name the cluster
	pending bool         // the disk was too full for the manifest of this start. Until it is written, no file of a shard is
}

// Incarnation returns the number of this start. It is higher than those of all starts before.
func (i *Identity) Incarnation() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.m.incarnation
}

// Starts returns the incarnations of the starts before this one, the oldest first, from the last one
// on of which the folder's node has learned that the cluster had noticed it. A cluster that noticed
// none of them later than all others knows a start of another folder: this one is older, or a copy.
// At most 16 are known: the first, and the newest.
func (i *Identity) Starts() []uint64 { return slices.Clone(i.starts) }

// SameLock reports whether this machine has not rebooted since the last start, and that start
// locked the same file. Then the process of that start has ended, since this one has its lock, and
// no copy of the folder has run since.
func (i *Identity) SameLock() bool { return i.sameLock }

// Unclean reports whether the copies of the folder may lack what they acknowledged. It holds from
// the start that finds it out, over any number of starts, until ClearUnclean.
func (i *Identity) Unclean() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unclean != noDoubt
}

// Damaged reports whether the folder is unclean for more than a loss of power: the copies may lack
// even what was synced.
func (i *Identity) Damaged() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unclean == anyDoubt
}

// ClearUnclean records that the cluster has noticed this start, and knows which copies are unclean
// and which shards are damaged: the node has learned that all of this was decided. When it returns,
// that is durable.
func (i *Identity) ClearUnclean() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	next := noDoubt
	if i.noLog {
		next = anyDoubt
	}
	if i.m.unclean != next || len(i.m.starts) > 0 || len(i.m.damaged) > 0 {
		if err := i.change(func(m *nodeManifest) { m.unclean, m.starts, m.damaged = next, nil, nil }); err != nil {
			return err
		}
	}
	i.unclean = noDoubt
	return nil
}

// noteDamage records that the copy of a shard lacks something, before its files are mended: the next
// start would find nothing wrong with them. A disk that is too full keeps it from that.
func (i *Identity) noteDamage(shard int) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	at, known := slices.BinarySearch(i.m.damaged, uint64(shard))
	if known {
		return nil
	}
	err := i.change(func(m *nodeManifest) { m.damaged = slices.Insert(slices.Clone(m.damaged), at, uint64(shard)) })
	if vfs.NoSpace(err) {
		i.log.Error("disk full: a start after this one would not know that a shard was damaged, unless the cluster learns it now", "shard", shard, "err", err)
		return nil
	}
	return err
}

// damaged reports whether a start has found damage in a shard since the last ClearUnclean.
func (i *Identity) damaged(shard int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.m.damaged, uint64(shard))
}

// SetUnclean records that the copies of the folder may lack what they acknowledged, because someone
// has changed or restored its files. The folder's node must not run. When it returns, that is
// durable.
func (i *Identity) SetUnclean() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.m.unclean == anyDoubt && i.unclean == anyDoubt {
		return nil
	}
	if err := i.change(func(m *nodeManifest) { m.unclean = anyDoubt }); err != nil {
		return err
	}
	i.unclean = anyDoubt
	return nil
}

// maxStarts is how many earlier starts a folder remembers.
const maxStarts = 16

// begin makes the manifest that was found that of this start, which has locked a file. The caller
// writes it.
//
// A start is unclean if the machine has rebooted and the last stop was not clean, even where every
// reply waited for a sync; if this run or the last one keeps no log; or if it locks another file than the last
// start, so it may be an older copy. That the manifest names no lock, as those of an earlier
// program, tells nothing.
func (i *Identity) begin(found nodeManifest, lock vfs.FileID, o *Options) {
	rebooted, moved := found.bootID != o.BootID, found.lock != "" && found.lock != lock.String()
	i.sameLock = !rebooted && found.lock == lock.String()
	i.m = found
	if !i.fresh {
		i.m.starts = append(slices.Clone(found.starts), found.incarnation)
		if n := len(i.m.starts); n > maxStarts {
			i.m.starts = slices.Delete(i.m.starts, 1, 1+n-maxStarts)
		}
		switch {
		case moved || o.NoLog:
			i.m.unclean = anyDoubt
		case rebooted && !found.clean && found.unclean != anyDoubt && !flawed("cleanUnderAlways"):
			i.m.unclean = powerDoubt
		}
	}
	i.starts, i.unclean = i.m.starts, i.m.unclean
	if i.noLog = o.NoLog; i.noLog {
		i.m.unclean = anyDoubt
	}
	if i.bootID = o.BootID; i.fresh || found.clean {
		i.m.bootID = o.BootID
	} // otherwise recordRecovery does it, if the machine has rebooted
	i.m.clean, i.m.lock = false, lock.String()
	i.m.incarnation = o.NextIncarnation(found.incarnation)
}

// Fresh reports whether this start created the folder, or is the first to use it.
func (i *Identity) Fresh() bool { return i.fresh }

// Store returns the id of the folder. Other nodes know its copies of shards by it.
func (i *Identity) Store() uuid.UUID {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.m.store
}

// Cluster returns the id of the folder's cluster. A new folder has a random one.
func (i *Identity) Cluster() uuid.UUID {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.m.cluster
}

// HasData reports whether any shard has a file. Each file names the cluster.
func (i *Identity) HasData() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hasData
}

// SetCluster makes the folder part of a cluster; when it returns, that is durable. It returns
// ErrHasData for a folder with data of another cluster.
func (i *Identity) SetCluster(cluster uuid.UUID) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.m.cluster == cluster {
		return nil
	}
	if i.hasData {
		return ErrHasData
	}
	return i.change(func(m *nodeManifest) { m.cluster = cluster })
}

// RaftState returns the id of the raft state that belongs to the folder; zero for none.
func (i *Identity) RaftState() uuid.UUID {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.m.raft
}

// SetRaftState records which raft state belongs to the folder; when it returns, that is durable. A
// start that finds another one, or none, has lost it.
func (i *Identity) SetRaftState(raft uuid.UUID) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.change(func(m *nodeManifest) { m.raft = raft })
}

// RenewStore gives the folder another store id and no raft state, and keeps its shards, which count
// as unclean: nothing tells how old they are. The folder's node must not run.
func (i *Identity) RenewStore() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.change(func(m *nodeManifest) {
		m.store, m.raft, m.unclean = uuid.New(), uuid.UUID{}, anyDoubt
	})
}

// change changes the manifest and writes it. After an error the manifest is what it was. The caller
// holds mu.
func (i *Identity) change(f func(*nodeManifest)) error {
	before := i.m
	f(&i.m)
	if err := i.m.write(i.fs, i.dir); err != nil {
		i.m = before
		return err
	}
	return nil
}

// recordStart writes the manifest of this start. On a disk that is too full for it the folder can be
// read, but no file of a shard is written until there is space: as long as the manifest is that of
// the last run, the logs must be, too.
func (i *Identity) recordStart(reserve *reserve) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	err := reserve.use(func() error { return i.m.write(i.fs, i.dir) })
	if i.pending = vfs.NoSpace(err) && !i.fresh; i.pending {
		i.log.Error("disk full: shards are read-only until there is space", "dir", i.dir, "err", err)
		return nil
	}
	return err
}

// pin returns the cluster for a file of a shard that is about to be created. From then on the cluster
// cannot change, since the file names it.
func (i *Identity) pin() (uuid.UUID, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pending {
		if err := i.m.write(i.fs, i.dir); err != nil {
			return uuid.UUID{}, err
		}
		i.pending = false
		i.log.Info("disk has space again: shards are writable", "dir", i.dir)
	}
	i.hasData = true
	return i.m.cluster, nil
}

// recordRecovery records that every shard has been read. Until then the manifest names the boot of
// the last run, so that a start after this one, too, knows that power was lost, and takes a hole in
// a log for the end of it.
func (i *Identity) recordRecovery() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.m.bootID == i.bootID {
		return
	}
	if i.pending { // the manifest is written later
		i.m.bootID = i.bootID
	} else if err := i.change(func(m *nodeManifest) { m.bootID = i.bootID }); err != nil {
		i.log.Warn("cannot record that the shards are read: a start after kill -9 will look for a loss of power again", "dir", i.dir, "err", err)
	}
}

// recordStop records a clean stop.
func (i *Identity) recordStop() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.m.clean, i.m.bootID = true, i.bootID
	return i.m.write(i.fs, i.dir)
}
