package replication

import (
	"context"
	"net"
	"time"

	"github.com/ndring/ndring/replica"
)

// How long the sender waits before it dials again, and how long a peer may take none of what is sent.
const (
	dialFirst    = 20 * time.Millisecond
	dialMost     = 500 * time.Millisecond
	writeTimeout = 30 * time.Second
	dialTimeout  = 3 * time.Second
	askStep      = 10 * time.Millisecond
)

// sendLoop keeps the append connection.
func (p *peer) sendLoop() {
	wait := dialFirst
	for p.context.Err() == nil {
		conn, err := p.dial(Append)
		if err != nil {
			p.r.config.Log.Debug("cannot reach a copy", "node", p.process.Node, "err", err)
			pause(p.context, wait)
			wait = min(2*wait, dialMost)
			continue
		}
		wait = dialFirst
		p.serve(conn)
	}
}

func (p *peer) dial(kind Kind) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(p.context, dialTimeout)
	defer cancel()
	return p.r.config.Dial(ctx, p.process, kind)
}

// serve sends and receives on an append connection until it ends.
func (p *peer) serve(conn net.Conn) {
	stop := context.AfterFunc(p.context, func() { conn.Close() })
	defer stop()
	p.connected()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.readAnswers(conn)
		conn.Close()
		notify(p.wake)
	}()
	p.send(conn, ended)
	conn.Close()
	<-ended
	p.disconnected()
}

// connected asks for what the member has of each shard.
func (p *peer) connected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linked = true
	p.queue = p.queue[:0]
	for _, s := range p.streams {
		p.ask(s, 0)
	}
}

func (p *peer) disconnected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linked = false
	p.queue = nil
	for _, s := range p.streams {
		p.ask(s, 0)
	}
}

// send writes what is queued until the connection ends. While one write is under way, the next grows.
func (p *peer) send(conn net.Conn, ended <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		out, asking := p.take()
		if len(out) > 0 {
			conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := conn.Write(out); err != nil {
				return
			}
			p.r.stats.BytesOut.Add(int64(len(out)))
			p.giveBack(out)
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
			p.repeatAsks()
		case <-ended:
			return
		case <-p.context.Done():
			return
		}
	}
}

// take takes what is queued.
func (p *peer) take() (out []byte, asking bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 {
		out, p.queue, p.spare = p.queue, p.spare[:0], nil
	}
	return out, p.asking > 0
}

// maxKept is how large a buffer is that is used again.
const maxKept = 4 << 20

func (p *peer) giveBack(b []byte) {
	if cap(b) > maxKept {
		return
	}
	p.mu.Lock()
	p.spare = b
	p.mu.Unlock()
}

// repeatAsks asks members again that have not answered.
func (p *peer) repeatAsks() {
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
func (p *peer) readAnswers(conn net.Conn) {
	r := newReader(conn)
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
			p.acked(&f)
		case kindSync:
			p.synchronize(&f)
		}
	}
}

// What follows an answer that a member does not take what it was sent.
const (
	askLater    = 10 * time.Millisecond  // it does not know the row yet
	askStale    = 100 * time.Millisecond // this node does not know the row yet
	askMismatch = time.Millisecond
	askFailed   = time.Second
)

// acked handles an acknowledgement.
func (p *peer) acked(f *frame) {
	ack := replica.Ack{Epoch: f.epoch, Leader: f.leader, Written: f.x, Synced: f.y, Flags: replica.AckFlags(f.flags)}
	role := p.r.config.Store.Shard(f.shard).Role()
	p.mu.Lock()
	s := p.streams[f.shard]
	if s == nil {
		p.mu.Unlock()
		return
	}
	run, catchUp := uint64(0), false
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
	case ack.Epoch == s.epoch && ack.Leader == s.leader:
		p.forgetUnacked(s, ack.Written)
		if s.state == asking {
			p.setState(s, catching)
			s.whole = false
			run, catchUp = s.run, true
		}
	}
	p.mu.Unlock()
	role.Acked(p.process, ack)
	if catchUp {
		p.r.running.Go(func() { p.catchUp(s, run, ack.Written) })
	}
}
