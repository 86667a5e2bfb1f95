package persistence

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence/vfs"
)

// Options say how a Disk is opened.
type Options struct {
	Shards          int
	BootID          string // of the machine, as long as it runs: with the same one, what was written is there whether it was synced or not
	Log             *slog.Logger
	Now             func() time.Time    // default time.Now
	Rand            func([]byte)        // fills with random bytes; default crypto/rand
	KeepAll         bool                // nothing is removed: what is not needed goes to the quarantine
	NextIncarnation func(uint64) uint64 // of that of the last start, 0 for none, makes that of this one
	Reserve         int64               // bytes that are kept back, for what must go on when the disk is full; 0 for none
	IsMember        func(*Disk) bool    // whether the folder's node has been part of a cluster, as far as others than the manifest tell; nil if none does
}

// Disk is the folder of a node.
type Disk struct {
	fs      vfs.FS
	dir     string
	options Options
	lock    io.Closer
	fresh   bool // the folder had no manifest

	identity sync.Mutex   // guards writing the manifest, and its cluster until there is data
	node     nodeManifest // what else it says changes only at the start and at the end
	hasData  bool         // files may name the cluster
	unbegun  bool         // the disk was too full for the manifest of this start: nothing may be written before it is

	saving    sync.Mutex // held by SaveFile
	filesMade bool       // their folder is there

	volume      vfs.Volume
	flushing    sync.Mutex    // held by the one who syncs the volume; before any log's mu
	flushed     error         // how the last one ended; guarded by flushing
	flushes     atomic.Uint64 // how many were begun
	flushErrors atomic.Int64  // of the volume, since the start

	marking  sync.Mutex // guards marks
	marks    []mark     // that were written last; a slice is never changed
	expected []mark     // those of the last start; set before the shards are read
	damage   []Damage   // of files that are of no shard

	reserve reserve

	powerLoss bool // what was not synced may be gone
	wasClean  bool // everything was, when the folder was last used
	logs      []*Log

	total, loaded atomic.Int64 // bytes to recover, and those that have been
	bytes         atomic.Int64 // of all files of all shards
	staged        atomic.Int64 // of them, those of blobs to which no record refers yet
	written       atomic.Int64 // bytes, since the start
	syncs         atomic.Int64
}

const (
	lockName     = "LOCK"
	manifestName = "MANIFEST"
	shardsDir    = "shards"
	filesDir     = "cluster" // of SaveFile; who opens the disk may have others of its own, such as raft
	blobsDir     = "blobs"
	quarantine   = "quarantine"
	tempSuffix   = vfs.TempSuffix
)

// nodeManifest is what the MANIFEST of the folder says.
type nodeManifest struct {
	cluster, store uuid.UUID
	raft           uuid.UUID // zero: none yet
	shards         int
	incarnation    uint64 // the line is called epoch: when a node was alone, its shards were in the epoch of its start
	bootID         string
	clean          bool
}

// OpenDisk opens the folder of a node, or makes one.
func OpenDisk(fs vfs.FS, dir string, options Options) (*Disk, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Rand == nil {
		options.Rand = func(b []byte) { rand.Read(b) } // never fails
	}
	d := &Disk{fs: fs, dir: dir, options: options}
	d.reserve = reserve{disk: d, size: options.Reserve}
	if err := fs.Mkdir(path.Join(dir, shardsDir)); err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	var err error
	if d.lock, err = fs.Lock(path.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	if d.volume, err = fs.Volume(dir); err == nil {
		err = d.start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use the data folder: %w", err), d.release())
	}
	return d, nil
}

// release lets others use the folder.
func (d *Disk) release() error {
	var err error
	if d.volume != nil {
		err = d.volume.Close()
	}
	return errors.Join(err, d.lock.Close())
}

// start reads the manifest, or makes one, and lists what there is to recover.
func (d *Disk) start() error {
	m, err := readNodeManifest(d.fs, d.dir)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		found, err := d.fs.List(path.Join(d.dir, shardsDir))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return fmt.Errorf("it has shards, but no %s: ndring check --repair --shards N writes it anew", manifestName)
		}
		m = nodeManifest{shards: d.options.Shards, clean: true}
		d.options.Rand(m.cluster[:])
		d.options.Rand(m.store[:])
		d.fresh = true
	case err != nil:
		return err
	case m.shards != d.options.Shards:
		if bound, err := d.bound(m); err != nil {
			return err
		} else if bound {
			return fmt.Errorf("it has %d shards, not %d: their number is fixed when a cluster is made", m.shards, d.options.Shards)
		}
		m.shards = d.options.Shards
	}
	d.wasClean, d.powerLoss = m.clean, !m.clean && m.bootID != d.options.BootID
	if !m.clean { // what a killed process has left unsynced counts from now on, so it must not be lost later
		if err := d.volume.Sync(); err != nil {
			return err
		}
	}
	m.bootID, m.clean = d.options.BootID, false
	m.incarnation = d.options.NextIncarnation(m.incarnation)
	d.node = m
	if err := d.enter(); err != nil {
		return err
	}
	if err := d.loadMarks(); err != nil {
		return err
	}
	if err := d.fs.SyncDir(path.Dir(path.Clean(d.dir))); err != nil { // the folder may be new
		return err
	}
	for id := range d.options.Shards {
		l := newLog(d, id)
		d.logs = append(d.logs, l)
		if err := l.list(); err != nil {
			return err
		}
		d.total.Add(l.toRecover())
		d.hasData = d.hasData || l.found.any
	}
	return nil
}

// Log returns the log of a shard.
func (d *Disk) Log(shard int) *Log { return d.logs[shard] }

// PowerLoss reports whether the machine was started anew since the last use, which did not end cleanly: what was not synced may be gone.
func (d *Disk) PowerLoss() bool { return d.powerLoss }

// Progress returns how many bytes of how many have been recovered.
func (d *Disk) Progress() (done, total int64) { return d.loaded.Load(), d.total.Load() }

// Bytes returns how many bytes all files take.
func (d *Disk) Bytes() int64 { return d.bytes.Load() }

// Staged returns how many of them are blobs of writes that are under way.
func (d *Disk) Staged() int64 { return d.staged.Load() }

// Written returns how many bytes were written since the start.
func (d *Disk) Written() int64 { return d.written.Load() }

// Syncs returns how many logs were synced since the start.
func (d *Disk) Syncs() int64 { return d.syncs.Load() }

// Free returns how many bytes the file system has left.
func (d *Disk) Free() (int64, error) { return d.fs.Free(d.dir) }

// Close ends the use of the folder. Clean says that every log is to be synced, so that the next start need not ask what is missing. However many shards there are, that
// takes a few syncs.
func (d *Disk) Close(clean bool) error {
	var err error
	if clean {
		err = d.end()
	}
	for _, l := range d.logs {
		l.close()
	}
	return errors.Join(err, d.release())
}

// end writes down where each log ends, and that nothing is missing.
func (d *Disk) end() error {
	d.SyncAll()
	texts := map[string][]byte{}
	for _, l := range d.logs {
		if err := l.Err(); err != nil {
			return err
		}
		if b := l.end(); b != nil {
			texts[l.path(manifestName)] = b
		}
	}
	d.marking.Lock()
	defer d.marking.Unlock()
	next, due := d.nextMarks(true)
	if due {
		texts[path.Join(d.dir, marksName)] = d.encodeMarks(next)
	}
	if err := d.replaceFiles(texts); err != nil {
		return err
	}
	d.marks = next
	d.identity.Lock()
	defer d.identity.Unlock()
	d.node.clean = true
	return d.writeManifest()
}

// replaceFiles gives files, of different folders, another content. Each has what it had before or what it is to have, whatever happens.
func (d *Disk) replaceFiles(texts map[string][]byte) error {
	names := slices.Sorted(maps.Keys(texts))
	if len(names) < manyLogs {
		for _, name := range names {
			if err := vfs.WriteFile(d.fs, name, texts[name]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		if err := vfs.PrepareFile(d.fs, name, texts[name]); err != nil {
			return err
		}
	}
	if err := d.syncVolume(); err != nil {
		return err
	}
	for _, name := range names {
		if err := d.fs.Rename(name+tempSuffix, name); err != nil {
			return err
		}
	}
	return d.syncVolume()
}

func (d *Disk) writeManifest() error {
	m := &d.node
	clean := "no"
	if m.clean {
		clean = "yes"
	}
	lines := []line{
		{"ndring", "node"}, {"format", strconv.Itoa(formatVersion)}, {"cluster", m.cluster.String()}, {"store", m.store.String()},
		{"shards", strconv.Itoa(m.shards)}, {"epoch", strconv.FormatUint(m.incarnation, 10)}, {"boot", strings.Join(strings.Fields(m.bootID), "")}, {"clean", clean},
	}
	if !m.raft.IsZero() {
		lines = append(lines, line{"raft", m.raft.String()})
	}
	return vfs.WriteFile(d.fs, path.Join(d.dir, manifestName), encodeLines(lines))
}

func readNodeManifest(fs vfs.FS, dir string) (m nodeManifest, err error) {
	lines, err := readLines(fs, path.Join(dir, manifestName), "node", maxManifest)
	if err != nil {
		return m, err
	}
	var errCluster, errStore, errRaft, errShards, errIncarnation error
	m.cluster, errCluster = uuid.Parse(lines["cluster"])
	m.store, errStore = uuid.Parse(lines["store"])
	if raft, there := lines["raft"]; there {
		m.raft, errRaft = uuid.Parse(raft)
	}
	m.shards, errShards = strconv.Atoi(lines["shards"])
	m.incarnation, errIncarnation = strconv.ParseUint(lines["epoch"], 10, 64)
	m.bootID, m.clean = lines["boot"], lines["clean"] == "yes"
	if err := errors.Join(errCluster, errStore, errRaft, errShards, errIncarnation); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	return m, nil
}

// line is a line of a manifest.
type line struct{ name, value string }

// encodeLines makes a manifest: lines of a name and a value, at the end the CRC32C of those before.
func encodeLines(lines []line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		fmt.Fprintf(&b, "%s %s\n", l.name, l.value)
	}
	fmt.Fprintf(&b, "crc32c %08x\n", crc32c.Checksum(b.Bytes()))
	return b.Bytes()
}

// maxManifest is the longest manifest that is read.
const maxManifest = 64 << 10 // bytes

var errManifest = errors.New("damaged manifest")

func readLines(fs vfs.FS, name, kind string, limit int64) (map[string]string, error) {
	b, err := vfs.ReadFile(fs, name, limit)
	if err != nil {
		return nil, err
	}
	at := bytes.LastIndex(b, []byte("crc32c "))
	if at < 0 || string(b[at:]) != fmt.Sprintf("crc32c %08x\n", crc32c.Checksum(b[:at])) {
		return nil, fmt.Errorf("%w: %s does not end with its CRC32C", errManifest, name)
	}
	lines := map[string]string{}
	for _, l := range strings.Split(string(b[:at]), "\n") {
		name, value, _ := strings.Cut(l, " ")
		lines[name] = value
	}
	if lines["ndring"] != kind {
		return nil, fmt.Errorf("%w: %s is no manifest of a %s", errManifest, name, kind)
	}
	if lines["format"] != strconv.Itoa(formatVersion) {
		return nil, fmt.Errorf("%w: %s has format %.16q, this program knows %d", errManifest, name, lines["format"], formatVersion)
	}
	return lines, nil
}

func (d *Disk) random() uint64 {
	var b [8]byte
	d.options.Rand(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// names of the files of a shard.
func shardDir(dir string, shard int) string {
	return path.Join(dir, shardsDir, fmt.Sprintf("%05d", shard))
}
func segmentName(seq uint64) string { return fmt.Sprintf("seg-%020d.log", seq) }
func snapshotName(epoch, seq uint64) string {
	return fmt.Sprintf("snap-%020d-%020d.snap", epoch, seq)
}

func parseSegmentName(name string) (seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, "seg-")
	digits, ok2 := strings.CutSuffix(digits, ".log")
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, ok && ok2 && err == nil && name == segmentName(seq)
}

func parseSnapshotName(name string) (epoch, seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, "snap-")
	digits, ok2 := strings.CutSuffix(digits, ".snap")
	first, second, ok3 := strings.Cut(digits, "-")
	epoch, err := strconv.ParseUint(first, 10, 64)
	seq, err2 := strconv.ParseUint(second, 10, 64)
	return epoch, seq, ok && ok2 && ok3 && err == nil && err2 == nil && name == snapshotName(epoch, seq)
}

func parseBlobName(name string) (BlobID, bool) {
	id, err := strconv.ParseUint(name, 16, 64)
	return BlobID(id), err == nil && id != 0 && name == BlobID(id).String()
}

// noteEpoch adds the row of an epoch to a table, if it is a new one. The newest rows are kept.
func noteEpoch(table []EpochStart, epoch, seq uint64) []EpochStart {
	if epoch <= lastEpoch(table) {
		return table
	}
	if table = append(table, EpochStart{epoch, seq}); len(table) > maxEpochs {
		return slices.Clone(table[len(table)-maxEpochs:])
	}
	return table
}

// lastEpoch returns the newest epoch of a table, 0 if it is empty.
func lastEpoch(table []EpochStart) uint64 {
	if len(table) == 0 {
		return 0
	}
	return table[len(table)-1].Epoch
}
