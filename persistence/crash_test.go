package persistence

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// copyUnderLoad is a copy of a shard that does all that copies do to a log, in random order: it
// appends as a primary or behind one, learns commit indexes, truncates, rotates, writes snapshots,
// installs copies, reads its log and syncs. It knows what a start must find at any moment.
type copyUnderLoad struct {
	t    *testing.T
	r    *rand.Rand
	h    *history
	disk *Disk
	log  *Log

	end     *node
	commit  *node
	carried uint64           // the greatest commit index in a record or snapshot
	values  map[string]*node // after commit
	blobs   map[*node]BlobID
	running *Snapshot // nil for none
	shows   *node     // the state of running
	foreign []*node   // ends of other copies' histories

	doing        string
	killed, lost expectation // of a start after a kill, and after a loss of power
}

const crashShard = 3

func (c *copyUnderLoad) open(fs vfs.FS, boot string) {
	o := fixedOptions()
	o.BootID = boot
	o.Rand = func(b []byte) {
		for i := range b {
			b[i] = byte(c.r.UintN(256))
		}
	}
	c.disk = open(c.t, fs, o)
	c.log = c.disk.Log(crashShard)
	j := newJournal()
	report, err := c.log.Recover(j)
	if err != nil {
		c.t.Fatal(err)
	}
	c.end = c.h.nodes[report.Has]
	c.commit = c.end.at(report.Commit)
	c.values, c.blobs, c.running, c.carried = c.h.values(c.commit), map[*node]BlobID{}, nil, report.Commit
	for at, id := range j.blobs {
		c.blobs[c.h.nodes[at]] = id
	}
	c.h.epoch++ // a process appends in an epoch of its own
	c.settled(true)
}

// settled says that the end of the log is as it is now, and with all that it is durable.
func (c *copyUnderLoad) settled(durable bool) {
	c.killed = expectation{floor: c.end, tips: []*node{c.end}, commit: c.commit}
	if durable {
		c.lost = c.killed
	} else {
		c.lost.tips, c.lost.other, c.lost.commit = append(c.lost.tips[:len(c.lost.tips):len(c.lost.tips)], c.end), nil, c.commit
	}
}

// fails reports whether an operation has failed, which must not happen while the disk works.
func (c *copyUnderLoad) check(err error, broken bool) error {
	if err != nil && !broken {
		c.t.Fatalf("%v\n%+v", err, c.log.files)
	}
	return err
}

// step does something. It returns an error if the log has stopped.
func (c *copyUnderLoad) step(broken func() bool) error {
	var err error
	switch n := c.r.IntN(40); {
	case n < 18:
		err = c.append()
	case n < 22:
		c.learn(c.end.at(c.commit.Seq + c.r.Uint64N(c.end.Seq-c.commit.Seq+1)))
	case n < 25:
		err = c.truncate()
	case n < 30:
		c.doing = "sync"
		if err = c.log.Sync(c.log.Position()); err == nil {
			c.settled(true)
		}
	case n < 31:
		err = c.log.Rotate()
	case n < 32:
		c.doing = "marks"
		err = c.disk.WriteMarks(c.r.IntN(2) == 0)
	case n < 36:
		err = c.snapshot()
	case n < 37:
		err = c.install()
	case n < 39:
		err = c.read()
	default:
		c.h.epoch++
		if len(c.foreign) < 4 && c.r.IntN(2) == 0 { // another copy goes its own way
			f := c.commit
			for range 1 + c.r.IntN(4) {
				batch := c.h.grow(f, c.r)
				f = batch[len(batch)-1]
				if c.r.IntN(3) == 0 {
					c.h.epoch++
				}
			}
			c.foreign = append(c.foreign, f)
			c.h.epoch++
		}
	}
	if err != nil && !broken() {
		c.t.Fatalf("%v", err)
	}
	return c.log.Err()
}

// learn applies what is now known to be committed.
func (c *copyUnderLoad) learn(commit *node) {
	for _, n := range commit.path(c.commit) {
		before := map[string]*node{}
		for k, v := range c.values {
			before[k] = v
		}
		n.apply(c.values)
		for key, old := range before {
			if id := c.blobs[old]; id != 0 && c.values[key] != old {
				c.log.Supersede(id, n.Seq)
				delete(c.blobs, old)
			}
		}
	}
	c.commit = commit
	c.killed.commit, c.lost.commit = commit, commit
}

// append appends batches of its own, or the next ones of another copy's history.
func (c *copyUnderLoad) append() error {
	c.doing = "append"
	var nodes []*node
	for _, f := range c.foreign {
		if f.contains(c.end) && f != c.end {
			nodes = f.path(c.end)[:1]
			for i := 1; !nodes[len(nodes)-1].whole; i++ {
				nodes = f.path(c.end)[:i+1]
			}
		}
	}
	if len(nodes) == 0 {
		if c.end.Epoch > c.h.epoch || len(c.foreign) > 0 && c.end.Epoch == c.h.epoch {
			c.h.epoch++
		}
		end := c.end
		for range 1 + c.r.IntN(2) {
			batch := c.h.grow(end, c.r)
			nodes, end = append(nodes, batch...), batch[len(batch)-1]
		}
	}
	for _, n := range nodes { // those that are in the log already, after a failed append
		delete(c.blobs, n)
	}
	end := nodes[len(nodes)-1]
	alone := c.r.IntN(3) == 0 // without other copies, what is appended is committed
	var batches [][]Record
	var batch []Record
	ids := map[*node]BlobID{}
	carried := c.carried
	for i, n := range nodes {
		if n.large {
			id, err := c.log.Stage([][]byte{[]byte(n.payload)})
			if err != nil {
				for _, id := range ids {
					c.log.Abandon(id)
				}
				return err
			}
			ids[n] = id
		}
		commit := c.commit.Seq
		if alone {
			commit = n.Seq
			for j := i; !nodes[j].whole; j++ {
				commit = nodes[j+1].Seq
			}
		}
		carried = max(carried, commit)
		batch = append(batch, n.record(commit, ids[n]))
		if n.whole {
			batches, batch = append(batches, batch), nil
		}
	}
	c.killed.tips = append(c.killed.tips, end)
	c.lost.tips = append(c.lost.tips[:len(c.lost.tips):len(c.lost.tips)], end)
	if alone {
		c.killed.commit, c.lost.commit = end, end
	}
	if _, err := c.log.Append(batches...); err != nil {
		for _, id := range ids {
			c.log.Abandon(id)
		}
		return err
	}
	for n, id := range ids {
		c.blobs[n] = id
	}
	c.end, c.carried = end, carried
	if alone {
		c.learn(end)
	}
	c.settled(false)
	return nil
}

// truncate removes what is not committed for sure, or a part of it.
func (c *copyUnderLoad) truncate() error {
	c.doing = "truncate"
	if c.end.Seq <= c.carried {
		return nil
	}
	after := c.end.at(max(c.carried, c.commit.Seq) + c.r.Uint64N(c.end.Seq-max(c.carried, c.commit.Seq)+1))
	for !after.whole && after.Seq > max(c.carried, c.commit.Seq) {
		after = after.parent
	}
	if !after.whole {
		return nil
	}
	c.killed.floor = after
	if c.lost.floor.contains(after) {
		c.lost.floor = after
	}
	if err := c.log.Truncate(after.Point); err != nil {
		return err
	}
	for _, n := range c.end.path(after) {
		delete(c.blobs, n)
	}
	c.end = after
	if c.running != nil && !after.contains(c.shows) {
		c.t.Fatal("a snapshot shows what is not committed")
	}
	c.h.epoch++ // what takes the place of the removed records has another epoch
	c.settled(false)
	return nil
}

func (c *copyUnderLoad) snapshot() error {
	c.doing = "snapshot"
	if c.running == nil {
		if c.r.IntN(3) > 0 {
			if err := c.log.Rotate(); err != nil {
				return err
			}
		}
		var blobs []BlobID
		for _, n := range sorted(c.values) {
			if id := c.blobs[n]; id != 0 {
				blobs = append(blobs, id)
			}
		}
		s, err := c.log.BeginSnapshot(c.commit.Epoch, c.commit.Seq, blobs)
		if err != nil {
			return err
		}
		c.running, c.shows = s, c.commit
		for _, n := range sorted(c.values) {
			r := n.record(0, c.blobs[n])
			if err := s.Write(&r); err != nil {
				s.Abort()
				c.running = nil
				return err
			}
		}
		return nil
	}
	s := c.running
	c.running = nil
	if c.r.IntN(5) == 0 {
		s.Abort()
		return nil
	}
	if err := s.Commit(); err != nil {
		if errors.Is(err, ErrCancelled) {
			return nil
		}
		return err
	}
	c.carried = max(c.carried, c.shows.Seq)
	if c.shows.contains(c.lost.floor) {
		c.lost.floor = c.shows
	}
	return nil
}

// install replaces the copy by another one.
func (c *copyUnderLoad) install() error {
	c.doing = "install"
	base := c.commit
	c.h.epoch++
	for range c.r.IntN(5) {
		batch := c.h.grow(base, c.r)
		base = batch[len(batch)-1]
	}
	c.h.epoch++
	i, err := c.log.Install(base.Point, c.h.epochs(base))
	if err != nil {
		return err
	}
	blobs, values := map[*node]BlobID{}, c.h.values(base)
	for _, n := range sorted(values) {
		if n.large {
			id, err := i.Stage([][]byte{[]byte(n.payload)})
			if err != nil {
				i.Abort()
				return err
			}
			blobs[n] = id
		}
		r := n.record(0, blobs[n])
		if err := i.Write(&r); err != nil {
			i.Abort()
			return err
		}
	}
	if c.r.IntN(4) == 0 {
		i.Abort()
		return nil
	}
	c.killed.other, c.lost.other = base, base
	if err := i.Commit(); err != nil {
		return err
	}
	c.end, c.commit, c.carried, c.values, c.blobs, c.foreign = base, base, base.Seq, values, blobs, nil
	c.settled(true)
	return nil
}

// read compares the log from some record on with the history.
func (c *copyUnderLoad) read() error {
	c.doing = "read"
	from := 1 + c.r.Uint64N(c.end.Seq+1)
	reader, err := c.log.From(from)
	if errors.Is(err, ErrCompacted) {
		return nil
	}
	if err != nil {
		return err
	}
	defer reader.Close()
	for _, n := range c.end.path(c.end.at(from - 1)) {
		r, err := reader.Next()
		if saved := c.log.files.snapshot; errors.Is(err, ErrCompacted) && saved != nil && n.Seq <= saved.seq {
			return nil // a loss of power has taken the record, but not the snapshot
		}
		if err != nil {
			return fmt.Errorf("record %v: %w", n.Point, err)
		}
		if (Point{r.Epoch, r.Seq}) != n.Point || r.Type != n.kind || string(r.Key) != n.key {
			c.t.Errorf("read %d-%d of kind %d, want %v of kind %d", r.Epoch, r.Seq, r.Type, n.Point, n.kind)
		}
	}
	if _, err := reader.Next(); err != io.EOF {
		c.t.Errorf("at the end: %v", err)
	}
	return nil
}

// verify starts on the files that a crash has left, and compares what it finds. It starts once more
// on what the first start has left.
func (c *copyUnderLoad) verify(mem *vfs.Mem, boot string, x *expectation) error {
	var first Point
	before := describe(mem, shardDir("data", crashShard))
	for n := range 2 {
		o := fixedOptions()
		o.BootID = boot
		d, err := OpenDisk(mem, "data", o)
		if err != nil {
			return err
		}
		j := newJournal()
		report, err := d.Log(crashShard).Recover(j)
		if err == nil {
			err = x.explain(c.h, j, report)
		}
		if err == nil && n > 0 && report.Has != first {
			err = fmt.Errorf("the second start finds %v, the first one found %v", report.Has, first)
		}
		if err != nil {
			return fmt.Errorf("start %d: %w\n%s", n+1, errors.Join(err, d.Close(false)), before)
		}
		first = report.Has
		if err := d.Close(false); err != nil {
			return err
		}
		mem = mem.Clone()
	}
	return nil
}

// interrupt starts on the files that a crash has left and ends the start at its nth change, by
// another crash. It returns what that leaves.
func (c *copyUnderLoad) interrupt(mem *vfs.Mem, boot string, n int, power *rand.Rand) *vfs.Mem {
	mem = mem.Clone()
	stopped := errors.New("the process has ended")
	o := fixedOptions()
	o.BootID = boot
	d, err := OpenDisk(vfs.NewFaulty(mem, func(change int) error {
		if change >= n {
			return stopped
		}
		return nil
	}), "data", o)
	if err == nil {
		_, err = d.Log(crashShard).Recover(newJournal())
		_ = d.Close(false)
	}
	if err != nil && !errors.Is(err, stopped) {
		c.t.Fatalf("a start that ends at change %d: %v", n, err)
	}
	if power != nil {
		return mem.Crash(power)
	}
	return mem.Clone()
}

// A crash at any operation of the file system leaves a log from which a start gets the committed
// prefix, with all that was synced, or written if the machine goes on.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	seeds, lives, steps := 20, 3, 40
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		crashes(t, uint64(seed), lives, steps)
	}
}

func crashes(t *testing.T, seed uint64, lives, steps int) {
	t.Helper()
	c := &copyUnderLoad{t: t, r: rand.New(rand.NewPCG(seed, 1)), h: newHistory()}
	chance := rand.New(rand.NewPCG(seed, 2))
	mem, boot := vfs.NewMem(), 1
	for range lives {
		var check func() error
		faulty := vfs.NewFaulty(mem, func(int) error {
			if check == nil {
				return nil
			}
			return check()
		})
		c.open(faulty, fmt.Sprint(boot))
		check = func() error {
			if err := c.verify(mem.Clone(), fmt.Sprint(boot), &c.killed); err != nil {
				t.Fatalf("seed %d, killed during %s: %v", seed, c.doing, err)
			}
			crashed := mem.Crash(chance)
			if err := c.verify(crashed.Clone(), fmt.Sprint(boot+1), &c.lost); err != nil {
				t.Fatalf("seed %d, power lost during %s: %v", seed, c.doing, err)
			}
			at := chance.IntN(12)
			if err := c.verify(c.interrupt(mem, fmt.Sprint(boot), at, nil), fmt.Sprint(boot), &c.killed); err != nil {
				t.Fatalf("seed %d, killed during %s, and the start at change %d: %v", seed, c.doing, at, err)
			}
			if err := c.verify(c.interrupt(crashed, fmt.Sprint(boot+1), at, chance), fmt.Sprint(boot+2), &c.lost); err != nil {
				t.Fatalf("seed %d, power lost during %s, and in the start at change %d: %v", seed, c.doing, at, err)
			}
			return nil
		}
		for range steps {
			if err := c.step(func() bool { return false }); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		check = nil
		if c.running != nil {
			c.running.Abort()
		}
		switch chance.IntN(3) {
		case 0:
			mem = mem.Clone()
		case 1:
			mem = mem.Crash(chance)
			boot += 2
		default:
			if err := c.disk.Close(true); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			mem = mem.Clone()
		}
	}
}
