package replication

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// How much may be missing when a stream is attached while the shard's writes wait, and how long they may wait: more after each round, so
// that catching up ends under any load.
const (
	attachFirst = 1 << 20
	attachMost  = 64 << 20
	attachTime  = 100 * time.Millisecond // for less than attachMost
	attachLast  = 2 * time.Second
)

// catchUp sends a member what it lacks of one shard, and attaches the stream.
type catchUp struct {
	p       *peer
	s       *stream
	run     uint64          // of the stream; once that has another, this catch-up is over
	context context.Context // ends with the run
	cancel  context.CancelFunc

	slot   chan struct{} // that it has, or waits for
	pace   *pace         // of a learner that has a slot
	cursor *shard.Cursor // set before it has a slot
	lag    lag
	slow   bool // it was logged that its shard is written to faster than move-rate allows
}

// newCatchUp begins the catch-up of the present run of a stream. The caller holds peer.mu.
func newCatchUp(p *peer, s *stream) *catchUp {
	c := &catchUp{p: p, s: s, run: s.run}
	s.done.Store(0)
	c.context, c.cancel = context.WithCancel(s.context)
	s.endRun = c.cancel
	return c
}

// goesOn reports whether the catch-up is not over.
func (c *catchUp) goesOn() bool {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.current()
}

// current is goesOn for a caller that holds peer.mu.
func (c *catchUp) current() bool { return c.s.state == catching && c.s.run == c.run }

// acquire waits until the stream may catch up beside others. Only learners rest while clients have requests.
func (c *catchUp) acquire() bool {
	r := c.p.r
	c.slot = r.slots
	if c.s.inISR.Load() {
		c.slot = r.urgent
	}
	select {
	case c.slot <- struct{}{}:
		if c.slot == r.slots {
			c.pace = r.pacer.begin(time.Now())
		}
		return true
	case <-c.context.Done():
		return false
	}
}

func (c *catchUp) release() {
	if c.pace != nil {
		c.pace.end()
	}
	<-c.slot
}

// rest lets the catch-up of a learner rest if it should, after it has sent so many bytes: so that the setting move-rate is kept, and so that
// clients have time. One that would never end does not rest for clients, and one whose cursor presses, because what it has
// yet to read is kept in memory, does not rest at all.
func (c *catchUp) rest(sent int) {
	c.count(sent)
	if c.pace == nil || c.s.inISR.Load() {
		return
	}
	if c.cursor.Presses() { // nor does what it sends count: others would have to wait for it
		return
	}
	if d := c.p.r.limiter.wait(time.Now(), sent); d > 0 {
		pause(c.context, d)
		c.pace.waited(d)
	}
	if c.lag.grows {
		return
	}
	c.pace.safe = c.s.safe.Load()
	c.pace.yield(c.context, sent)
}

// count notes that so many bytes were sent.
func (c *catchUp) count(sent int) {
	c.s.done.Add(int64(sent))
	if !c.s.inISR.Load() {
		c.p.r.stats.Moved.Add(int64(sent))
	}
}

// from sends what follows a record.
func (c *catchUp) from(after uint64) {
	defer c.cancel()
	of := c.p.r.config.Store.Shard(c.s.shard)
	cursor, err := of.Primary().ReadFrom(after)
	switch {
	case errors.Is(err, shard.ErrNoHistory):
		c.rebuild()
		return
	case err != nil:
		c.end(err)
		return
	}
	defer cursor.Close()
	if done, err := c.attach(cursor, attachFirst); done || err != nil { // little is missing, as at most times
		c.end(err)
		return
	}
	cursor.Pause() // each shard of a node may wait here
	c.cursor = cursor
	if !c.acquire() {
		return
	}
	defer c.release()
	c.p.r.stats.CatchUps.Add(1)
	c.end(c.follow(cursor))
}

// rebuild sends a member a whole copy, and then what was appended since.
func (c *catchUp) rebuild() {
	defer c.cancel()
	if c.s.inISR.Load() {
		c.p.r.config.Store.Shard(c.s.shard).Role().Remove(c.p.process)
		c.end(shard.ErrNoHistory)
		return
	}
	if !c.acquire() {
		return
	}
	defer c.release()
	c.p.r.stats.Installs.Add(1)
	image, err := c.p.r.config.Store.Shard(c.s.shard).Primary().Image()
	if err != nil {
		c.end(err)
		return
	}
	defer image.Close()
	c.cursor = image.Cursor
	if err := c.p.sendImage(c.context, c.s, image, c.rest); err != nil {
		c.end(err)
		return
	}
	c.hasImage()
	c.end(c.follow(image.Cursor))
}

// hasImage notes that the member has installed the whole copy: if it gives its copy up from now on, it takes no records.
func (c *catchUp) hasImage() {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.current() {
		c.s.whole, c.s.refused = false, 0
	}
}

// errDetached ends a catch-up of a stream that was detached meanwhile.
var errDetached = errors.New("the stream was detached")

// end asks again if the catch-up has failed.
func (c *catchUp) end(err error) {
	if err == nil {
		return
	}
	p := c.p
	if !errors.Is(err, errDetached) && p.context.Err() == nil {
		p.r.config.Log.Debug("a copy could not catch up", "node", p.process.Node, "shard", c.s.shard, "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.current() {
		after := askStale
		if refused := new(refusedError); errors.As(err, &refused) && refused.full != 0 { // it will have no room for a while
			after = min(max(2*c.s.refused, askFailed), askFull)
			c.s.refused = after
		}
		p.ask(c.s, after)
	}
}

// follow sends what a cursor reads until the stream is attached.
func (c *catchUp) follow(cursor *shard.Cursor) error {
	sent := int64(0)
	for limit := attachFirst; ; limit = min(2*limit, attachMost) {
		for {
			b, err := cursor.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if err := c.send(b); err != nil {
				return err
			}
			sent += int64(b.LoggedBytes())
			if c.lag.note(time.Now(), sent, cursor.Appended()) && c.bounded() {
				c.letGo(cursor)
			}
			c.rest(len(b.Bytes))
		}
		if done, err := c.attach(cursor, limit); done || err != nil {
			return err
		}
	}
}

// bounded reports whether move-rate bounds the catch-up.
func (c *catchUp) bounded() bool { return c.p.r.limiter.rate() > 0 && !c.s.inISR.Load() }

// letGo lets the log remove what the cursor has yet to read, once writers turn out to be faster than move-rate lets the catch-up be: it would
// never end, and the log would grow all the time. If the log has removed it by the next read, another whole copy follows.
func (c *catchUp) letGo(cursor *shard.Cursor) {
	cursor.Pause()
	if !c.slow {
		c.slow = true
		c.p.r.config.Log.Warn("a copy does not catch up: its shard is written to faster than move-rate allows", "node", c.p.process.Node, "shard", c.s.shard)
	}
}

// attach sends what is left, if it is little, and attaches the stream.
func (c *catchUp) attach(cursor *shard.Cursor, limit int) (bool, error) {
	if !c.goesOn() {
		return false, errDetached
	}
	p, lost := c.p, false
	locked := func(do func()) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !c.current() {
			lost = true
			return
		}
		do()
	}
	uploaded := func(id uint64) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, is := p.uploaded[id]
		return is
	}
	send := func(b *shard.Batch) {
		prepared := prepare(b)
		c.count(len(b.Bytes))
		locked(func() { p.pushBatch(c.s, b, prepared) })
	}
	attach := func(end replica.Point) {
		locked(func() {
			p.setState(c.s, attached)
			c.s.sent, c.s.caughtUp = end.Seq, end.Seq                                             // the member has what was not sent
			p.push(&frame{kind: kindAsk, shard: c.s.shard, epoch: c.s.epoch, leader: c.s.leader}) // a whole copy is not acknowledged otherwise
		})
	}
	most := attachTime
	if limit == attachMost {
		most = attachLast
	}
	done, err := cursor.Attach(limit, most, uploaded, send, attach)
	if err == nil && lost {
		err = errDetached
	}
	return done, err
}

// send sends a batch once there is room, and its large values before it.
func (c *catchUp) send(b *shard.Batch) error {
	for _, l := range b.Large {
		if err := c.p.upload(c.context, c.s, l, c.rest); err != nil {
			return err
		}
	}
	for c.s.inFlight.fullOfCatchUps() {
		if err := c.awaitWindow(); err != nil {
			return err
		}
	}
	prepared := prepare(b)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if !c.current() {
		return errDetached
	}
	c.p.pushBatch(c.s, b, prepared)
	return nil
}

// awaitWindow waits until there may be room.
func (c *catchUp) awaitWindow() error {
	room := c.p.window.awaitRoom(c.s.inFlight.fullOfCatchUps)
	if room == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.context, time.Second)
	defer cancel()
	select {
	case <-room:
	case <-ctx.Done():
	}
	if !c.goesOn() {
		return errDetached
	}
	return nil
}
