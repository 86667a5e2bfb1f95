package shard

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// ErrNoHistory is returned when a primary does not have the records any more that a member lacks: the member must
// install a whole copy.
var ErrNoHistory = errors.New("the primary no longer has the records that the copy lacks")

// Cursor reads what a primary has appended, for a member that lacks it: from the suffix what is not committed, and the rest from
// the log. Not safe for concurrent use.
type Cursor struct {
	s       *Shard
	last    replica.Point // that was read
	log     *persistence.LogReader
	batch   Batch
	backlog *backlog // of a shard without a log; else nil
}

// batchBytes is how much a cursor reads at once, as far as a batch that counts together is not longer.
const batchBytes = 256 << 10

// ReadFrom returns a cursor of what follows the record after. The caller closes it.
func (p Primary) ReadFrom(after uint64) (*Cursor, error) {
	s := p.s
	c := &Cursor{s: s}
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if after > w.last.Seq {
		return nil, ErrNoHistory
	}
	if err := c.start(after); err != nil {
		return nil, err
	}
	return c, nil
}

// start places the cursor.
func (c *Cursor) start(after uint64) error {
	epoch, known := c.s.localCopy.epochOf(after)
	c.last = replica.Point{Epoch: epoch, Seq: after}
	switch {
	case !known && after > 0:
		return ErrNoHistory
	case after >= c.committed():
		return nil
	case !c.s.writer.logged:
		return ErrNoHistory
	}
	var err error
	c.log, err = c.s.writer.log.From(after + 1)
	return lost(err)
}

// lost returns the error of reading the log. If the records are gone or damaged, ErrNoHistory says so. While the process has no
// file descriptor left, they are not: the member is asked again, and keeps what it has.
func lost(err error) error {
	if err == nil || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return err
	}
	return errors.Join(ErrNoHistory, err)
}

// epochOf returns the epoch of a record.
func (c *localCopy) epochOf(seq uint64) (uint64, bool) {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.Table().At(seq, c.rules.End().Seq)
}

// committed returns the commit index: up to it the cursor reads the log, and may take a value that it does not find for superseded. The
// caller holds writer.mu.
func (c *Cursor) committed() uint64 {
	if flawed("supersedeUncommitted") {
		return c.s.writer.last.Seq
	}
	return c.s.localCopy.commitIndex()
}

// Pause gives back the file and the entries that the cursor holds, until the next read.
func (c *Cursor) Pause() {
	if c.log != nil {
		c.log.Close()
		c.log = nil
	}
	c.release()
}

// Presses reports whether the cursor must be read soon, because what it has to read is kept in little memory.
func (c *Cursor) Presses() bool {
	if c.backlog == nil {
		return false
	}
	c.s.writer.mu.Lock()
	defer c.s.writer.mu.Unlock()
	return c.backlog.bytes > maxBacklog/4
}

// Appended returns how many bytes of records the shard has appended to its log in this run; 0 without a log.
func (c *Cursor) Appended() int64 {
	if c.s.writer.log == nil {
		return 0
	}
	return int64(c.s.writer.log.Position())
}

// Close ends the cursor.
func (c *Cursor) Close() {
	c.Pause()
	if c.backlog != nil {
		c.s.writer.dropBacklog(c.backlog)
		c.backlog = nil
	}
}

// release gives back the entries of the last batch.
func (c *Cursor) release() {
	for _, l := range c.batch.Large {
		l.Entry.Release()
	}
	c.batch.Large = c.batch.Large[:0]
}

// Next returns the next records, io.EOF at the present end, or ErrNoHistory. The batch, with references to the entries of
// its large values, is valid until the next call.
func (c *Cursor) Next() (*Batch, error) {
	w := &c.s.writer
	w.mu.Lock()
	commit := c.committed()
	if c.backlog != nil || c.last.Seq >= min(w.last.Seq, commit) {
		defer w.mu.Unlock()
		return c.next()
	}
	w.mu.Unlock() // writers need not wait for what is read from the log
	c.release()
	c.batch.reset(c.last, commit)
	if err := c.readLog(commit); err != nil {
		return nil, err
	}
	c.last = c.batch.Last
	return &c.batch, nil
}

// Attach calls send for what is left, unless that is more than about limit bytes, takes longer than most, or has a large value that is not
// at the member. Then it calls attach, before another change can be appended, and returns true: what is appended from then on
// follows what was sent. Writers wait meanwhile.
func (c *Cursor) Attach(limit int, most time.Duration, uploaded func(id uint64) bool, send func(*Batch), attach func(last replica.Point)) (bool, error) {
	c.s.writer.mu.Lock()
	defer c.s.writer.mu.Unlock()
	for began, sent := time.Now(), 0; sent <= limit && time.Since(began) < most; {
		b, err := c.next()
		if err == io.EOF {
			attach(c.last)
			return true, nil
		}
		if err != nil {
			return false, err
		}
		for _, l := range b.Large {
			if !uploaded(l.ID) {
				c.unread()
				return false, nil
			}
		}
		send(b)
		sent += len(b.Bytes)
	}
	return false, nil
}

// unread makes the cursor read its last batch again.
func (c *Cursor) unread() {
	c.last = c.batch.Prev
	if c.backlog != nil {
		c.backlog.unread(&c.batch)
		return
	}
	c.Pause()
}

// next is Next for a caller that holds writer.mu.
func (c *Cursor) next() (*Batch, error) {
	c.release()
	w := &c.s.writer
	commit := c.committed()
	c.batch.reset(c.last, commit)
	if c.last.Seq >= w.last.Seq {
		return nil, io.EOF
	}
	if c.backlog != nil {
		if !c.backlog.read(&c.batch) {
			return nil, ErrNoHistory
		}
	} else if c.last.Seq >= commit {
		c.Pause() // the log, from here on
		c.readSuffix()
	} else if err := c.readLog(commit); err != nil {
		return nil, err
	}
	if len(c.batch.Bytes) == 0 {
		return nil, ErrNoHistory
	}
	c.last = c.batch.Last
	return &c.batch, nil
}

// readSuffix reads whole batches of the suffix.
func (c *Cursor) readSuffix() {
	x := &c.s.writer.encoder
	defer x.reset()
	cp := &c.s.localCopy
	cp.index.mu.RLock()
	defer cp.index.mu.RUnlock()
	queue := cp.suffix.queue[cp.suffix.head:]
	for from := 0; from < len(queue) && len(c.batch.Bytes) < batchBytes; {
		p := &queue[from]
		to := from + 1
		for to < len(queue) && queue[to].batch == p.batch {
			to++
		}
		if p.seq > c.last.Seq {
			c.addPending(x, queue[from:to])
		}
		from = to
	}
}

// addPending adds a batch of the suffix.
func (c *Cursor) addPending(x *encoder, batch []pending) {
	for i := range batch {
		p := &batch[i]
		r := x.record(p.epoch, &p.change)
		if len(batch) > 1 {
			r.Count = uint32(len(batch) - i)
		}
		r.Commit = c.batch.Commit
		c.add(&r, p.entry, p.upload)
	}
}

// add adds a record with the entry of a Put, and the id under which its value was uploaded; 0: it was not.
func (c *Cursor) add(r *persistence.Record, e *Entry, upload uint64) {
	if e == nil || r.Type != persistence.Put || r.Bytes <= UploadBytes {
		c.batch.add(r, nil, 0)
		return
	}
	e.retain()
	if upload == 0 {
		upload = c.s.localCopy.process.nextUpload()
	}
	c.batch.add(r, e, upload)
}

// readLog reads whole batches of the log, up to the commit index.
func (c *Cursor) readLog(commit uint64) error {
	if c.log == nil {
		if err := c.start(c.last.Seq); err != nil {
			return err
		}
		if c.log == nil { // the copy was emptied meanwhile
			return ErrNoHistory
		}
	}
	for open := false; open || len(c.batch.Bytes) < batchBytes && c.batch.Last.Seq < commit; {
		r, err := c.log.Next()
		if err != nil {
			return lost(err)
		}
		c.addLogged(r)
		open = r.Count > 1
	}
	return nil
}

// addLogged adds a record of the log. A value in a blob is looked up in memory; if it is not there, a later change that is
// committed has superseded it, and the record goes as the deletion of the key, with the outcome of its request.
func (c *Cursor) addLogged(r *persistence.Record) {
	if r.Blob == 0 {
		c.batch.add(r, nil, 0)
		return
	}
	e := c.s.localCopy.retainVersion(r.Key, Version{r.Epoch, r.Seq})
	if e != nil {
		c.batch.add(r, e, c.s.localCopy.process.nextUpload())
		return
	}
	superseded := persistence.Record{Type: persistence.Delete, Epoch: r.Epoch, Seq: r.Seq, Commit: r.Commit, Count: r.Count, Key: r.Key}
	var d decoder
	d.answers(r, func(a answer) { superseded.Meta = appendAnswers(nil, []answer{a}) })
	c.batch.add(&superseded, nil, 0)
}

// retainVersion returns the entry of a version, with a reference; nil if neither suffix nor index has it.
func (c *localCopy) retainVersion(key []byte, v Version) *Entry {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	queue := c.suffix.queue[c.suffix.head:]
	if flawed("supersedeUncommitted") {
		queue = nil
	}
	for i := range queue {
		if e := queue[i].entry; e != nil && e.Version() == v && string(e.Key()) == string(key) {
			e.retain()
			return e
		}
	}
	if e := c.index.get(key); e != nil && e.Version() == v {
		e.retain()
		return e
	}
	return nil
}
