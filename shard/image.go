package shard

import (
	"io"
	"slices"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// Image is what a primary's copy has at one moment, all of it committed, for a member that installs it. Cursor reads what
// the primary has appended since.
type Image struct {
	Base   replica.Point
	Table  replica.EpochTable
	Cursor *Cursor
	Bytes  int64 // of memory

	state shardState
	time  int64 // Unix time in ms
}

// Image returns the shard as it is now. The caller closes it.
func (p Primary) Image() (*Image, error) {
	s := p.s
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	image := s.localCopy.image()
	image.time = w.clock()
	image.Cursor = &Cursor{s: s}
	if !image.Cursor.follow(image.Base) {
		image.Close()
		return nil, ErrNoHistory
	}
	return image, nil
}

// image returns what is committed.
func (c *localCopy) image() *Image {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	image := &Image{Table: slices.Clone(c.rules.Table())}
	image.Base.Seq = c.applied
	image.Base.Epoch, _ = c.rules.Table().At(c.applied, c.rules.End().Seq)
	image.state = shardState{entries: c.index.all(), answers: c.requests.answers(c.process.milliseconds())}
	for _, e := range image.state.entries {
		e.retain()
		image.Bytes += e.Footprint()
	}
	return image
}

// follow places a cursor behind an image. Without a log it keeps in memory what follows. The caller holds writer.mu.
func (c *Cursor) follow(base replica.Point) bool {
	w := &c.s.writer
	c.last = base
	if w.logged {
		var err error
		c.log, err = w.log.From(base.Seq + 1)
		return err == nil
	}
	kept := &backlog{}
	for {
		b, err := c.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			kept.clear()
			return false
		}
		kept.add(b)
	}
	c.last, c.backlog = base, kept
	w.backlogs = append(w.backlogs, kept)
	return true
}

// Close gives back what the image holds.
func (i *Image) Close() {
	for _, e := range i.state.entries {
		if e != nil { // Each has not released it
			e.Release()
		}
	}
	i.state.entries = nil
	i.Cursor.Close()
}

// Each calls other with the records that have no value, and then value with those of the values, whose payload is in pieces. A
// record is valid during the call. An error ends the walk.
func (i *Image) Each(other, value func(*persistence.Record) error) error {
	var x encoder
	noOp := persistence.NewNoOp(0, 0, i.time)
	if err := other(&noOp); err != nil {
		return err
	}
	for list := range slices.Chunk(i.state.answers, answersRecord) {
		if err := other(&persistence.Record{Type: persistence.Delete, Meta: x.answers(list...)}); err != nil {
			return err
		}
		x.reset()
	}
	for at, e := range i.state.entries {
		version := e.Version()
		r := persistence.Record{Type: persistence.Put, Epoch: version.Epoch, Seq: version.Seq, Key: e.Key()}
		x.value(&r, e, "")
		if err := value(&r); err != nil {
			return err
		}
		x.reset()
		e.Release()
		i.state.entries[at] = nil
	}
	return nil
}
