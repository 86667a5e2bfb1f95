package shard

import (
	"errors"
	"fmt"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// ErrNotTaken is returned for a copy that a member may not install, or may not install any longer: its row has changed, or
// counts on what the member has.
var ErrNotTaken = errors.New("the shard takes no copy from there now")

// Installation is a whole copy of a shard that a member receives beside its own. Commit puts it in the place of the own copy, in
// memory and on disk: never does a reader, or a start, find a part of each.
type Installation struct {
	member  Member
	source  Source
	base    replica.Point
	table   replica.EpochTable
	decoder decoder
	log     *persistence.Installation // nil without a log
	entries []*Entry
	answers []answer
	time    int64 // of the primary's copy
	awaited int64 // bytes that are reserved for what has not arrived
}

// Install begins an installation of the primary's copy as it is after base, with the epochs of its history, which takes about so many
// bytes of memory; 0: that is not known. It reserves room for that, or returns ErrMemoryFull or ErrDiskFull if there is none.
func (m Member) Install(f Source, base replica.Point, table replica.EpochTable, bytes int64) (*Installation, error) {
	w, s := &m.s.writer, m.s.store
	awaited, err := s.room.reserve(s, bytes)
	if err != nil {
		return nil, err
	}
	if err := m.beginInstall(&f); err != nil {
		s.room.release(awaited)
		return nil, err
	}
	i := &Installation{member: m, source: f, base: base, table: table, awaited: awaited, decoder: decoder{pool: w.pool, frame: w.disk.frame, now: w.clock()}}
	if w.logged {
		var epochs []persistence.EpochStart
		for _, start := range table {
			epochs = append(epochs, persistence.EpochStart(start))
		}
		if i.log, err = w.log.Install(persistence.Point(base), epochs); err != nil {
			i.end()
			return nil, w.disk.countWrite(err, true)
		}
	}
	return i, nil
}

// beginInstall is mayInstall for the only installation that is under way until Installation.end.
func (m Member) beginInstall(f *Source) error {
	if err := m.mayInstall(f); err != nil {
		return err
	}
	c := &m.s.localCopy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if c.installing {
		return fmt.Errorf("shard %d: %w: another copy is on its way", m.s.id, ErrNotTaken)
	}
	c.installing = true
	return nil
}

// end ends what Install has begun: another copy may come, and what is still reserved is free again.
func (i *Installation) end() {
	i.member.s.store.room.release(i.awaited)
	i.awaited = 0
	c := &i.member.s.localCopy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.installing = false
}

// add takes an entry that has arrived. It counts as used from now on, so less is reserved.
func (i *Installation) add(e *Entry) {
	i.entries = append(i.entries, e)
	n := min(e.Footprint(), i.awaited)
	i.awaited -= n
	i.member.s.store.room.release(n)
}

// outOfDate reports whether the member has, or has dropped, more than a copy that has arrived: the copy was held up on its way, and the member has
// acknowledged what it lacks.
func (i *Installation) outOfDate() bool {
	c := &i.member.s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.keepsUp() && i.base.Seq < c.rules.End().Seq || i.base.Seq < c.rules.Owed()
}

// mayInstall returns nil if the primary may replace this copy: nothing counts on what it has.
func (m Member) mayInstall(f *Source) error {
	c := &m.s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	epoch := c.rules.Config().Epoch // a later one of the same leader epoch changes nothing
	if !m.s.Ready() || c.rules.Accept(f.From, epoch, f.Leader) != replica.Take || c.rules.Counts() && !flawed("installClean") {
		return fmt.Errorf("shard %d: %w", m.s.id, ErrNotTaken)
	}
	return nil
}

// Put adds a value. Read fills a buffer with the next bytes of the payload.
func (i *Installation) Put(r *persistence.Record, read func([]byte) error) error {
	if err := notFull(i.member.s.store); err != nil { // it was not when the copy began to arrive
		return err
	}
	v, err := i.decoder.checked(r, read)
	own := *r
	own.Blob = 0
	if err == nil && i.log != nil {
		own.Payload = v.payload(nil)
		if own.Bytes >= persistence.BlobBytes {
			if own.Blob, err = i.log.Stage(own.Payload); err == nil {
				own.Payload = nil
			}
		}
		if err == nil {
			err = i.log.Write(&own)
		}
		err = i.member.s.writer.disk.countWrite(err, true)
	}
	if err != nil {
		v.Release()
		return err
	}
	e := newEntry(i.decoder.pool, r.Key, &v, own.Blob, i.decoder.now)
	h := e.head()
	h.version, h.expireAt = Version{r.Epoch, r.Seq}, r.Expiry
	i.add(e)
	return nil
}

// Other adds a record without a value: outcomes of requests, or the time of the primary's copy.
func (i *Installation) Other(r *persistence.Record) error {
	switch r.Type {
	case persistence.Delete:
		parseAnswers(r.Meta, func(a answer) { i.answers = append(i.answers, a) })
		if i.log == nil {
			return nil
		}
		return i.log.Write(&persistence.Record{Type: persistence.Delete, Meta: r.Meta})
	case persistence.NoOp:
		i.time = max(i.time, r.Time())
		if i.log != nil {
			i.log.NotBefore(i.time)
		}
		return nil
	}
	return fmt.Errorf("%w: type %d in a copy", persistence.ErrWire, r.Type)
}

// Abort gives the copy up. The own one stays.
func (i *Installation) Abort() {
	defer i.end()
	if i.log != nil {
		i.log.Abort()
	}
	for _, e := range i.entries {
		e.Release()
	}
}

// Commit puts the copy in the place of the own one, and says what the member has from now on.
func (i *Installation) Commit() (Answer, error) {
	w := &i.member.s.writer
	if i.log != nil { // which may take long, and a new row must not wait for it
		if err := w.disk.countWrite(i.log.Sync(), true); err != nil {
			i.Abort()
			return Answer{}, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	err := i.member.mayInstall(&i.source)
	if err == nil && i.outOfDate() {
		err = fmt.Errorf("shard %d: %w: this one has more", i.member.s.id, ErrNotTaken)
	}
	if err != nil {
		i.Abort()
		return Answer{}, err
	}
	defer i.end()
	if i.log != nil {
		if err := w.disk.countWrite(i.log.Commit(), true); err != nil { // it has aborted, or stopped the log
			for _, e := range i.entries {
				e.Release()
			}
			return Answer{}, err
		}
	}
	w.copy.process.note(i.time)
	following{w.copy}.replace(i)
	w.seq, w.last = i.base.Seq, i.base
	unsaved := int64(0)
	if i.log == nil {
		unsaved = 1 // only the next snapshot has it
	}
	w.disk.unsaved.Add(unsaved - w.unsaved.Swap(unsaved))
	return w.received(w.last, 0, nil), nil
}

// replace puts an installed copy in the place of this one.
func (c following) replace(i *Installation) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.truncate(0)
	c.index.forgetAll()
	c.fresh.Store(0)
	for _, e := range i.entries {
		c.index.put(e, i.base.Seq)
	}
	c.requests = requestLog{}
	for _, a := range i.answers {
		c.requests.remember(a, c.process.milliseconds())
		c.requests.trim()
	}
	c.applied, c.digests, c.comparedAt, c.mustInstall = i.base.Seq, digests{}, 0, false
	c.rules.Installed(i.table, i.base)
}
