package persistence

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/internal/slowtest"
	"github.com/ndring/ndring/persistence/vfs"
)

var errPower = errors.New("the machine is off")

// copyModel drives a shard's log as a primary would whose commit index lags behind, and knows what each
// start may find.
type copyModel struct {
	t       *testing.T
	r       *rand.Rand
	mem     *vfs.Mem
	boot    int
	disk    *Disk
	log     *Log
	stopAt  int      // the change of the file system from which on all fail
	history []Record // those that were appended or may have been
	values  []string // of the records' payloads
	ends    []int    // of the batches
	alone   bool     // what is appended is committed

	epoch   uint64
	commit  uint64
	blobs   map[string]BlobID // of the values that are visible, by their keys
	written int               // records that survive the end of the process
	synced  int               // records that survive a loss of power
	shot    uint64            // seq of the snapshot that is there
	maybe   uint64            // seq of one that may be there
}

// digest stands for a payload.
func digest(payload []byte) string {
	if len(payload) == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes, %08x", len(payload), crc32c.Checksum(payload))
}

// digests is a keeper of the digests of payloads.
type digests struct{ keeper }

func (d digests) Put(r *Record, read func([]byte) error) error {
	b := make([]byte, r.Bytes)
	if err := read(b); err != nil {
		return err
	}
	d.keeper[string(r.Key)] = fmt.Sprintf("%s|%s|%d-%d|%d", r.Meta, digest(b), r.Epoch, r.Seq, r.Expiry)
	return nil
}

func (d digests) Suffix(r *Record, read func([]byte) error) error {
	b := make([]byte, r.Bytes)
	if err := read(b); err != nil {
		return err
	}
	d.keeper[fmt.Sprintf("suffix %d", r.Seq)] = fmt.Sprintf("%d|%s|%s|%s|%d-%d|%d", r.Type, r.Key, r.Meta, digest(b), r.Epoch, r.Seq, r.Expiry)
	return nil
}

// at returns what is visible at a commit index, and the suffix up to end.
func (m *copyModel) at(commit uint64, end int) keeper {
	k := keeper{}
	for i, r := range m.history[:end] {
		key := string(r.Key)
		if r.Seq > commit {
			k[fmt.Sprintf("suffix %d", r.Seq)] = fmt.Sprintf("%d|%s|%s|%s|%d-%d|%d", r.Type, key, r.Meta, m.values[i], r.Epoch, r.Seq, r.Expiry)
			continue
		}
		switch r.Type {
		case Put:
			k[key] = fmt.Sprintf("%s|%s|%d-%d|%d", r.Meta, m.values[i], r.Epoch, r.Seq, r.Expiry)
		case Delete:
			delete(k, key)
		case Expire:
			epoch, seq := r.Of()
			k.Expire(r.Key, epoch, seq, r.Expiry)
		case Flush:
			clear(k)
		}
	}
	return k
}

// newest returns the record that holds the value of a key in the whole history; nil for none.
func (m *copyModel) newest(key string) (found *Record) {
	for i := range m.history {
		switch r := &m.history[i]; {
		case r.Type == Flush, r.Type == Delete && string(r.Key) == key:
			found = nil
		case r.Type == Put && string(r.Key) == key:
			found = r
		}
	}
	return found
}

// record makes the next record of the history.
func (m *copyModel) record() (Record, string, error) {
	seq := uint64(len(m.history)) + 1
	key := fmt.Sprint("k", m.r.IntN(6))
	switch n := m.r.IntN(100); {
	case n < 12:
		return NewNoOp(m.epoch, seq, int64(1000*seq)), "", nil
	case n < 25:
		return Record{Type: Delete, Epoch: m.epoch, Seq: seq, Key: []byte(key)}, "", nil
	case n < 35:
		if of := m.newest(key); of != nil {
			return Record{Type: Expire, Epoch: m.epoch, Seq: seq, Key: []byte(key), Meta: VersionMeta(of.Epoch, of.Seq), Expiry: int64(seq)}, "", nil
		}
	case n < 37:
		return Record{Type: Flush, Epoch: m.epoch, Seq: seq}, "", nil
	case n < 47:
		r := put(seq, key, largePayload+fmt.Sprint(seq))
		id, err := m.log.Stage(r.Payload)
		value := digest([]byte(largePayload + fmt.Sprint(seq)))
		r.Epoch, r.Blob, r.Payload = m.epoch, id, nil
		return r, value, err
	}
	value := strings.Repeat("v", m.r.IntN(2000)) + fmt.Sprint(seq)
	r := put(seq, key, value)
	r.Epoch = m.epoch
	return r, digest([]byte(value)), nil
}

// append appends one to three batches with the commit index as it is or, alone, with their own.
func (m *copyModel) append(alone bool) error {
	var batches [][]Record
	for range 1 + m.r.IntN(3) {
		from := len(m.history)
		for range 1 + m.r.IntN(3)*m.r.IntN(2) {
			r, value, err := m.record()
			if err != nil {
				return err
			}
			m.history, m.values = append(m.history, r), append(m.values, value)
		}
		m.ends = append(m.ends, len(m.history))
		commit := m.commit
		if alone {
			commit = uint64(len(m.history))
		}
		batches = append(batches, upTo(commit, m.history[from:]...))
	}
	if _, err := m.log.Append(batches...); err != nil {
		return err
	}
	m.written = len(m.history)
	if alone {
		m.commitTo(uint64(m.written))
	}
	return nil
}

// commitTo moves the commit index, and tells the log which blobs are superseded by that.
func (m *copyModel) commitTo(commit uint64) {
	for _, r := range m.history[m.commit:commit] {
		for _, key := range slices.Sorted(maps.Keys(m.blobs)) {
			id := m.blobs[key]
			if r.Type == Flush || (r.Type == Put || r.Type == Delete) && string(r.Key) == key {
				m.log.Supersede(id, r.Seq)
				delete(m.blobs, key)
			}
		}
		if r.Blob != 0 {
			m.blobs[string(r.Key)] = r.Blob
		}
	}
	m.commit = commit
}

// acknowledge moves the commit index to the end of some batch, as acknowledgements of others would.
func (m *copyModel) acknowledge() {
	if later := slices.DeleteFunc(slices.Clone(m.ends), func(end int) bool { return uint64(end) <= m.commit }); len(later) > 0 {
		m.commitTo(uint64(later[m.r.IntN(len(later))]))
	}
}

// snapshot writes a snapshot at the commit index; records may be appended meanwhile.
func (m *copyModel) snapshot() error {
	if err := m.log.Rotate(); err != nil {
		return err
	}
	at := m.commit
	if at == 0 {
		return nil
	}
	k := m.at(at, int(at))
	s, err := m.log.BeginSnapshot(m.history[at-1].Epoch, at, slices.Sorted(maps.Values(m.blobs)))
	if err != nil {
		return err
	}
	if m.r.IntN(2) == 0 {
		err = m.append(m.r.IntN(3) == 0)
	}
	for i := range m.history[:at] {
		r := m.history[i]
		text, there := k[string(r.Key)]
		if err != nil || r.Type != Put || !there || !strings.Contains(text, fmt.Sprintf("|%d-%d|", r.Epoch, r.Seq)) {
			continue
		}
		r.Commit, r.Count = 0, 0
		fmt.Sscan(text[strings.LastIndexByte(text, '|')+1:], &r.Expiry)
		err = s.Write(&r)
	}
	if err != nil {
		s.Abort()
		return err
	}
	m.maybe = at
	if err := s.Commit(); err != nil {
		return err
	}
	m.shot = at
	return nil
}

// step does one thing.
func (m *copyModel) step() error {
	switch n := m.r.IntN(100); {
	case n < 50:
		return m.append(m.alone)
	case n < 70:
		m.acknowledge()
	case n < 85:
		if err := m.log.Sync(m.log.Position()); err != nil {
			return err
		}
		m.synced = m.written
	case n < 90:
		return m.log.Rotate()
	case n < 95:
		return m.snapshot()
	default:
		return m.disk.WriteMarks(true)
	}
	return nil
}

// live starts the node, compares what it finds with what it may find, and works until the power is
// lost, the process is killed, or it stops cleanly.
func (m *copyModel) live() {
	fs := vfs.NewFaulty(m.mem, func(n int) error {
		if n >= m.stopAt {
			return errPower
		}
		return nil
	})
	m.stopAt = m.r.IntN(150)
	options := fixedOptions()
	options.Shards, options.BootID = 4, fmt.Sprint("boot-", m.boot)
	options.Rand = func(b []byte) {
		for i := range b {
			b[i] = byte(m.r.Uint32())
		}
	}
	m.epoch++
	options.NextIncarnation = func(uint64) uint64 { return m.epoch }
	d, err := OpenDisk(fs, "data", options)
	clean := false
	if err == nil {
		m.synced, m.disk, m.log = m.written, d, d.Log(3)
		k := keeper{}
		var report *Report
		if m.r.IntN(2) == 0 {
			recoverShard(m.t, d, 0)
			report, err = m.log.Recover(digests{k})
		} else if report, err = m.log.Recover(digests{k}); err == nil {
			recoverShard(m.t, d, 0)
		}
		recoverShard(m.t, d, 1)
		recoverShard(m.t, d, 2)
		if err == nil {
			m.compare(k, report)
			for range m.r.IntN(40) {
				if err = m.step(); err != nil {
					break
				}
			}
		}
		clean = err == nil && m.r.IntN(3) == 0
		if err := d.Close(clean); clean && err == nil {
			m.synced = m.written
		}
	}
	if err != nil && !errors.Is(err, errPower) {
		m.t.Fatal(err)
	}
	if m.r.IntN(2) == 0 { // power is lost
		m.mem, m.written = m.mem.Crash(m.r), m.synced
		m.boot++
	}
}

// compare compares what a start has found with the history. The history then ends where the files do.
func (m *copyModel) compare(k keeper, report *Report) {
	end := int(report.Has.Seq)
	if len(report.Damage) > 0 || report.Given != report.Has.Seq || end < m.written || end > len(m.history) || end > 0 && !slices.Contains(m.ends, end) {
		m.t.Fatalf("%d of %d records are found, of %d that survive: %+v", end, len(m.history), m.written, report)
	}
	m.history, m.values = m.history[:end], m.values[:end]
	m.ends = slices.DeleteFunc(m.ends, func(e int) bool { return e > end })
	m.written, m.synced = end, end
	commit, time := m.shot, int64(0)
	for i := range m.history {
		commit, time = max(commit, m.history[i].Commit), max(time, m.history[i].Time())
	}
	if report.Commit != commit && (report.Commit != m.maybe || m.maybe < commit) {
		m.t.Fatalf("the commit index is %d, want %d, or %d by a snapshot", report.Commit, commit, m.maybe)
	}
	if end > 0 && report.Has.Epoch != m.history[end-1].Epoch || report.Time < time || report.HeldBack != int64(end)-int64(report.Commit) {
		m.t.Fatalf("%+v, want the time %d", report, time)
	}
	m.shot, m.maybe = max(m.shot, report.Commit), 0
	k.want(m.t, m.at(report.Commit, end))
	m.commit, m.blobs = 0, map[string]BlobID{}
	m.commitTo(report.Commit) // what it supersedes is gone
	m.alone = m.r.IntN(2) == 0
}

// A copy whose commit index lags behind its log is killed, loses power or stops at any change of the
// file system, starts included. Each start finds a prefix of its records with everything that
// survives, shows what its files know to be committed, and holds back the rest.
func TestStartsHoldBackTheSuffix(t *testing.T) {
	t.Parallel()
	runs := 150
	if testing.Short() || slowtest.Race {
		runs = 25
	}
	if n, err := strconv.Atoi(os.Getenv("NDRING_FAULT_ROUNDS")); err == nil {
		runs = 1200 * n
	}
	for range runs {
		seed := rand.Uint64()
		if text := os.Getenv("NDRING_SEED"); text != "" { // one that a failure has printed
			seed, _ = strconv.ParseUint(text, 10, 64)
		}
		m := copyModel{t: t, r: rand.New(rand.NewPCG(seed, 0)), mem: vfs.NewMem(), epoch: 7}
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m.t = t
			for range 6 {
				m.live()
			}
		})
		if !ok {
			return
		}
	}
}
