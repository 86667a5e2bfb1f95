package persistence

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
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

	// The ends of appends that have failed, and the latest that they said to be committed. Until the
	// log writes again or is cut, the first batches of the first one may be found.
	torn       []*node
	tornCommit *node

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
	c.torn = nil
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
	if c.torn != nil {
		c.killed.tips, c.killed.commit = append(c.killed.tips, c.torn...), c.tornCommit
	}
	if durable {
		c.lost = c.killed
		c.lost.tips = slices.Clone(c.killed.tips)
	} else {
		c.lost.tips, c.lost.other, c.lost.commit = append(c.lost.tips[:len(c.lost.tips):len(c.lost.tips)], c.killed.tips...), nil, c.killed.commit
	}
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
	if c.torn == nil {
		c.killed.commit, c.lost.commit = commit, commit
	}
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
	alone := c.r.IntN(3) == 0 && c.torn == nil // without other copies, what is appended is committed; a failed append may have left what is, too
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
		c.h.epoch++
		if c.torn = append(c.torn, end); len(c.torn) == 1 {
			c.tornCommit = c.killed.commit
		}
		for _, id := range ids {
			c.log.Abandon(id)
		}
		return err
	}
	for n, id := range ids {
		c.blobs[n] = id
	}
	c.end, c.carried, c.torn = end, carried, nil
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
	c.end, c.torn = after, nil
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
	if c.r.IntN(2) == 0 { // as a shard does; Commit does it otherwise
		if err := i.Sync(); err != nil {
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
	c.torn = nil
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
