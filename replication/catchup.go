package replication

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// How much may be missing when a stream is attached while the shard's writes wait: more after each round, so that catching up
// ends under any load.
const (
	attachFirst = 1 << 20
	attachMost  = 64 << 20
)

// synchronize answers a member that says what it has before it may append.
func (p *peer) synchronize(f *frame) {
	table, err := parseTable(f.body)
	if err != nil {
		p.r.config.Log.Warn("a copy says what it has in a way that cannot be read", "node", p.process.Node, "err", err)
		return
	}
	q := shard.SyncRequest{Epoch: f.epoch, Leader: f.leader, End: replica.Point{Epoch: f.x, Seq: f.y}, Table: table, Install: f.flags&flagInstall != 0}
	after, verdict := p.r.config.Store.Shard(f.shard).Role().Sync(p.process, q)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.streams[f.shard]
	if s == nil || s.epoch != f.epoch {
		return // it is asked again
	}
	switch {
	case s.state == attached || s.state == catching && q.Install && !s.whole: // it has given up what it had, and takes no records
		p.ask(s, askMismatch)
	case s.state != asking:
	case verdict == replica.Take:
		p.push(&frame{kind: kindTruncate, shard: s.shard, epoch: s.epoch, leader: s.leader, x: after})
	case verdict == replica.Rebuild && !s.inISR.Load():
		p.setState(s, catching)
		s.whole = true
		run := s.run
		p.r.running.Go(func() { p.rebuild(s, run) })
	}
}

// runs reports whether a catch-up goes on.
func (p *peer) runs(s *stream, run uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.state == catching && s.run == run
}

// acquire waits until the stream may catch up beside others.
func (p *peer) acquire(s *stream) bool {
	select {
	case p.r.slots <- struct{}{}:
		return true
	case <-s.context.Done():
		return false
	}
}

func (p *peer) release() { <-p.r.slots }

// catchUp sends a member what it lacks, and attaches the stream.
func (p *peer) catchUp(s *stream, run, after uint64) {
	of := p.r.config.Store.Shard(s.shard)
	cursor, err := of.ReadFrom(after)
	if err != nil {
		p.rebuild(s, run)
		return
	}
	defer cursor.Close()
	if done, err := p.attach(s, run, cursor, attachFirst); done || err != nil { // little is missing, as at most times
		p.ended(s, run, err)
		return
	}
	if !p.acquire(s) {
		return
	}
	defer p.release()
	p.r.stats.CatchUps.Add(1)
	p.ended(s, run, p.follow(s, run, cursor))
}

// rebuild sends a member a whole copy, and then what was appended since.
func (p *peer) rebuild(s *stream, run uint64) {
	if s.inISR.Load() {
		p.r.config.Store.Shard(s.shard).Role().Remove(p.process)
		p.ended(s, run, shard.ErrNoHistory)
		return
	}
	if !p.acquire(s) {
		return
	}
	defer p.release()
	p.r.stats.Installs.Add(1)
	image, err := p.r.config.Store.Shard(s.shard).Image()
	if err != nil {
		p.ended(s, run, err)
		return
	}
	defer image.Close()
	if err := p.sendImage(s, image); err != nil {
		p.ended(s, run, err)
		return
	}
	p.ended(s, run, p.follow(s, run, image.Cursor))
}

// errDetached ends a catch-up of a stream that was detached meanwhile.
var errDetached = errors.New("the stream was detached")

// ended asks again if a catch-up has failed.
func (p *peer) ended(s *stream, run uint64, err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, errDetached) && p.context.Err() == nil {
		p.r.config.Log.Debug("a copy could not catch up", "node", p.process.Node, "shard", s.shard, "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state == catching && s.run == run {
		p.ask(s, askStale)
	}
}

// follow sends what a cursor reads until the stream is attached.
func (p *peer) follow(s *stream, run uint64, cursor *shard.Cursor) error {
	for limit := attachFirst; ; limit = min(2*limit, attachMost) {
		for {
			b, err := cursor.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if err := p.sendBatch(s, run, b); err != nil {
				return err
			}
		}
		if done, err := p.attach(s, run, cursor, limit); done || err != nil {
			return err
		}
	}
}

// attach sends what is left, if it is little, and attaches the stream.
func (p *peer) attach(s *stream, run uint64, cursor *shard.Cursor, limit int) (bool, error) {
	if !p.runs(s, run) {
		return false, errDetached
	}
	lost := false
	locked := func(do func()) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if s.state != catching || s.run != run {
			lost = true
			return
		}
		do()
	}
	done, err := cursor.Attach(limit,
		func(id uint64) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.has(id)
		},
		func(b *shard.Batch) { locked(func() { p.pushBatch(s, b) }) },
		func(replica.Point) {
			locked(func() {
				p.setState(s, attached)
				p.push(&frame{kind: kindAsk, shard: s.shard, epoch: s.epoch, leader: s.leader}) // a whole copy is not acknowledged otherwise
			})
		})
	if err == nil && lost {
		err = errDetached
	}
	return done, err
}

// sendBatch sends a batch once there is room, and its large values before it.
func (p *peer) sendBatch(s *stream, run uint64, b *shard.Batch) error {
	for _, l := range b.Large {
		if err := p.upload(s.context, s, l); err != nil {
			return err
		}
	}
	for s.full() {
		if err := p.awaitWindow(s, run); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state != catching || s.run != run {
		return errDetached
	}
	p.pushBatch(s, b)
	return nil
}

// awaitWindow waits until there may be room.
func (p *peer) awaitWindow(s *stream, run uint64) error {
	room := p.awaitRoom(s)
	if room == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.context, time.Second)
	defer cancel()
	select {
	case <-room:
	case <-ctx.Done():
	}
	if !p.runs(s, run) {
		return errDetached
	}
	return nil
}
