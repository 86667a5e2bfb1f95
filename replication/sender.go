package replication

import (
	"context"
	"runtime"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// How long the sender waits before it dials again, and how long a peer may take none of what is sent.
const (
	dialFirst    = 20 * time.Millisecond
	dialMost     = 500 * time.Millisecond
	writeTimeout = 30 * time.Second
	dialTimeout  = 3 * time.Second
	askStep      = 5 * time.Millisecond
)

// sendLoop keeps the append connection.
func (p *peer) sendLoop() {
	wait := dialFirst
	for p.context.Err() == nil {
		conn, err := p.dial(p.context, Append)
		if err != nil {
			p.r.config.Log.Debug("cannot reach a copy", "node", p.process.Node, "err", err)
			pause(p.context, wait)
			wait = min(2*wait, dialMost)
			continue
		}
		wait = dialFirst
		l := appendLink{p, conn, make(chan struct{})}
		l.serve()
	}
}

func (p *peer) dial(ctx context.Context, kind Kind) (Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return p.r.config.Dial(ctx, p.process, kind)
}

// appendLink is an append connection.
type appendLink struct {
	peer  *peer
	conn  Conn
	ended chan struct{} // closed when nothing more is read from it
}

// serve sends and receives on an append connection until it ends.
func (l *appendLink) serve() {
	p := l.peer
	stop := context.AfterFunc(p.context, func() { l.conn.Close() })
	defer stop()
	l.connected()
	go func() {
		defer close(l.ended)
		l.readAnswers()
		l.conn.Close()
		notify(p.wake)
	}()
	l.send()
	l.conn.Close()
	<-l.ended
	l.disconnected()
}

// connected asks for what the member has of each shard.
func (l *appendLink) connected() {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = l.conn
	p.queue = outgoing{linked: true}
	for _, s := range p.streams {
		p.ask(s, 0)
	}
}

// reconnect ends the connections, so that others are made.
func (p *peer) reconnect() {
	p.bulk.reconnect()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.Close()
	}
}

func (l *appendLink) disconnected() {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = nil
	p.queue = outgoing{}
	for _, s := range p.streams {
		p.ask(s, 0)
	}
}

// send writes what is queued until the connection ends. While one write is under way, the next grows.
func (l *appendLink) send() {
	p := l.peer
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	looked := time.Now()
	for {
		runtime.Gosched() // those who have a request append first: one write carries more
		out, asking := l.take()
		if asking && time.Since(looked) >= askStep { // also while there is always something to send
			l.repeatAsks()
			looked = time.Now()
		}
		if len(out) > 0 {
			if err := l.write(out); err != nil {
				return
			}
			continue
		}
		var ask <-chan time.Time
		if asking {
			timer.Reset(askStep)
			ask = timer.C
		}
		select {
		case <-p.wake:
		case <-ask:
		case <-l.ended:
			return
		case <-p.context.Done():
			return
		}
	}
}

// write writes pieces, and keeps their memory for frames to come.
func (l *appendLink) write(pieces [][]byte) error {
	for i, b := range pieces {
		l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := l.conn.Write(b); err != nil {
			return err
		}
		l.peer.r.stats.BytesOut.Add(int64(len(b)))
		pieces[i] = nil
		l.giveBack(b)
	}
	return nil
}

// take takes what is queued.
func (l *appendLink) take() (out [][]byte, asking bool) {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.queue.empty() {
		out = p.queue.take()
	}
	return out, p.asking > 0
}

func (l *appendLink) giveBack(b []byte) {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.giveBack(b)
}

// repeatAsks asks members again that have not answered.
func (l *appendLink) repeatAsks() {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, s := range p.streams {
		if s.state == asking && !now.Before(s.askAt) {
			p.sendAsk(s)
		}
	}
}

// readAnswers handles what a peer answers until the connection ends.
func (l *appendLink) readAnswers() {
	p := l.peer
	r := newReader(l.conn)
	for {
		f, err := r.read()
		if err == nil && f.shard >= p.r.config.Shards {
			err = errFrame
		}
		if err != nil {
			if p.context.Err() == nil {
				p.r.config.Log.Debug("the connection to a copy ended", "node", p.process.Node, "err", err)
			}
			return
		}
		p.r.stats.BytesIn.Add(int64(headBytes + len(f.body)))
		switch f.kind {
		case kindAck:
			l.acked(&f)
		case kindSync:
			l.synchronize(&f)
		}
	}
}

// What follows an answer that a member does not take what it was sent.
const (
	askLater    = 5 * time.Millisecond   // it does not know the row yet
	askStale    = 100 * time.Millisecond // this node does not know the row yet
	askMismatch = time.Millisecond
	askFailed   = time.Second     // its log fails, or it has no room for a whole copy
	askFull     = 8 * time.Second // at most, if it has no room again and again: each whole copy begins with a look at all that the shard has
)

// acked handles an acknowledgement.
func (l *appendLink) acked(f *frame) {
	p := l.peer
	ack := replica.Ack{Epoch: f.epoch, Leader: f.leader, Written: f.x, Synced: f.y, Flags: replica.AckFlags(f.flags)}
	role := p.r.config.Store.Shard(f.shard).Role()
	p.noteFull(f.flags)
	p.mu.Lock()
	s := p.streams[f.shard]
	if s == nil {
		p.mu.Unlock()
		return
	}
	var c *catchUp
	switch {
	case ack.Flags&replica.AckStale != 0:
		if s.epoch < ack.Epoch {
			p.ask(s, askStale)
		} else {
			p.ask(s, askLater) // to a frame of an epoch that this node has left
		}
	case ack.Flags&replica.AckLater != 0:
		p.ask(s, askLater)
	case ack.Flags&replica.AckFailed != 0:
		p.ask(s, askFailed)
	case ack.Flags&replica.AckMismatch != 0:
		if s.state == attached || s.state == catching {
			p.ask(s, askMismatch)
		}
	case ack.Epoch <= s.epoch && ack.Leader == s.leader: // of one leader epoch, so it is about the same log
		s.inFlight.forget(ack.Written)
		if s.state == asking && ack.Epoch == s.epoch {
			p.setState(s, catching)
			s.whole = false
			c = newCatchUp(p, s)
		}
	}
	p.mu.Unlock()
	role.Acked(p.process, ack)
	if c != nil {
		p.r.running.Go(func() { c.from(ack.Written) })
	}
}

// synchronize answers a member that says what it has before it may append.
func (l *appendLink) synchronize(f *frame) {
	p := l.peer
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
		p.r.running.Go(newCatchUp(p, s).rebuild)
	}
}
