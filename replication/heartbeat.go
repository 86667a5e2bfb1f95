package replication

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// beatInterval is how often a node renews its leases.
const beatInterval = 100 * time.Millisecond

// beatLoop keeps the heartbeat connection.
func (p *peer) beatLoop() {
	wait, n := dialFirst, uint64(0) // the numbers go on, because the peer notes when it has acknowledged each
	for p.context.Err() == nil {
		conn, err := p.dial(p.context, Heartbeat)
		if err != nil {
			pause(p.context, wait)
			wait = min(2*wait, dialMost)
			continue
		}
		wait = dialFirst
		b := &beats{peer: p, n: n, sent: map[uint64]beat{}, heard: time.Now()}
		b.run(conn)
		n = b.n
	}
}

// beats are the heartbeats on one connection.
type beats struct {
	peer *peer
	n    uint64
	at   int64     // when the newest heartbeat left
	last []renewal // of the newest heartbeat on this connection; nil before the first

	mu    sync.Mutex // guards all below
	sent  map[uint64]beat
	heard time.Time // when the peer last answered
	owes  bool      // a round waits until fewer heartbeats are unacknowledged
}

// silenceLimit is how long a peer may answer no heartbeat before its connections are made again. After a partition TCP
// would take much longer to go on with the old ones.
const silenceLimit = 2 * time.Second

// beat is a heartbeat that is not acknowledged.
type beat struct {
	at       int64 // by Store.Monotonic, before it left
	renewals []renewal
}

// maxBeats is how many heartbeats may be unacknowledged. Older ones are of no use.
const maxBeats = 64

// Readers that need a round to the ISR ask for heartbeats at any time. They share them: one leaves each roundInterval at most,
// and none while maxRounds are unacknowledged.
const (
	roundInterval = time.Millisecond
	maxRounds     = 8
)

func (b *beats) run(conn Conn) {
	p := b.peer
	stop := context.AfterFunc(p.context, func() { conn.Close() })
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.readGrants(conn)
		conn.Close()
	}()
	defer func() {
		conn.Close()
		<-ended
	}()
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	for {
		if b.send(conn) != nil {
			return
		}
		if b.silent() {
			p.reconnect()
			return
		}
		p.sendCommits()
		if !b.wait(conn, tick.C, ended) {
			return
		}
	}
}

// silent reports whether the peer has not answered for too long.
func (b *beats) silent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.heard) > silenceLimit
}

// wait returns true when a heartbeat is due that carries the commit indexes along. It sends the others.
func (b *beats) wait(conn Conn, tick <-chan time.Time, ended <-chan struct{}) bool {
	p := b.peer
	for {
		select {
		case <-tick:
			return true
		case <-p.beat:
			return true
		case <-p.round:
			if passed := time.Duration(p.r.config.Store.Monotonic() - b.at); passed < roundInterval {
				pause(p.context, roundInterval-passed)
			}
			if b.mayRound() && b.send(conn) != nil {
				return false
			}
		case <-ended:
			return false
		case <-p.context.Done():
			return false
		}
	}
}

// mayRound reports whether a heartbeat for a round may leave now. If not, an acknowledgement makes up for it.
func (b *beats) mayRound() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owes = len(b.sent) >= maxRounds
	return !b.owes
}

// send sends a heartbeat.
func (b *beats) send(conn Conn) error {
	p := b.peer
	at := p.r.config.Store.Monotonic()
	list := p.renewals()
	b.n++
	f := frame{kind: kindHeartbeat, x: b.n}
	if b.last != nil && slices.Equal(list, b.last) {
		f.flags = flagSame
	} else {
		f.body = appendRenewals(nil, list)
	}
	b.at, b.last = at, list
	b.mu.Lock()
	b.sent[b.n] = beat{at, list}
	delete(b.sent, b.n-maxBeats)
	b.mu.Unlock()
	conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := conn.Write(f.appendTo(nil))
	return err
}

// renewals returns the leases that this node wants from the peer: of all shards that it sends, but for those whose log does
// not move (R9).
func (p *peer) renewals() []renewal {
	p.mu.Lock()
	list := make([]renewal, 0, len(p.streams))
	for _, s := range p.streams {
		list = append(list, renewal{s.shard, s.epoch, s.leader})
	}
	p.mu.Unlock()
	list = slices.DeleteFunc(list, func(r renewal) bool {
		return p.r.config.Store.Shard(r.shard).Primary().Stuck() && !flawed("renewStuck")
	})
	slices.SortFunc(list, func(a, b renewal) int { return cmp.Compare(a.shard, b.shard) })
	return list
}

// readGrants takes note of what the peer grants until the connection ends.
func (b *beats) readGrants(conn Conn) {
	r := newReader(conn)
	for {
		f, err := r.read()
		if err != nil || f.kind != kindGranted {
			return
		}
		b.peer.noteFull(f.flags)
		b.mu.Lock()
		sent, known := b.sent[f.x]
		delete(b.sent, f.x)
		b.heard = time.Now()
		owes := b.owes && len(b.sent) < maxRounds
		b.owes = b.owes && !owes
		b.mu.Unlock()
		if known && len(f.body)*8 >= len(sent.renewals) {
			b.peer.grant(&sent, f.body)
			b.peer.granted.Store(f.x)
			b.peer.heard.Store(time.Now().UnixNano())
		}
		if owes {
			notify(b.peer.round)
		}
	}
}

// grant renews leases by an acknowledged heartbeat: of the shards that it named, in the leader epochs that it named (M5).
func (p *peer) grant(sent *beat, granted []byte) {
	for i, r := range sent.renewals {
		if granted[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		p.mu.Lock()
		s, leader := p.streams[r.shard], r.leader
		if s != nil && flawed("ackLater") {
			leader = s.leader
		}
		p.mu.Unlock()
		if s == nil {
			continue
		}
		s.lease.set(leader, sent.at)
		p.r.config.Store.Shard(r.shard).Role().Contact(p.process, false)
	}
}

// sendCommits sends the commit index of each shard, which makes it visible at the peer when nothing is appended, and the newest
// digest, by which the peer compares its copy.
func (p *peer) sendCommits() {
	p.mu.Lock()
	streams := make([]*stream, 0, len(p.streams))
	for _, s := range p.streams {
		if s.state == attached {
			streams = append(streams, s)
		}
	}
	p.mu.Unlock()
	fresh := p.granted.Load()
	now := p.r.config.Store.Monotonic()
	space := make([]byte, 0, digestBytes)
	for _, s := range streams {
		of := p.r.config.Store.Shard(s.shard)
		n := fresh
		digest := of.Primary().NewestDigest()
		commit, leased := of.Primary().Fresh(now)
		if !leased && !flawed("freshUnleased") {
			n = 0
		}
		p.mu.Lock()
		if s.state == attached {
			f := frame{kind: kindCommit, shard: s.shard, epoch: s.epoch, leader: s.leader, x: n, z: min(commit, s.sent)}
			if digest.Seq > s.caughtUp && digest.Seq <= f.z {
				f.body = appendDigest(space[:0], digest)
			}
			p.queue.add(&f)
		}
		p.mu.Unlock()
	}
	notify(p.wake)
}

// serveHeartbeat grants leases to a process until its connection ends.
func (i *inbound) serveHeartbeat(from replica.Process, conn Conn) {
	r := newReader(conn)
	var list []renewal
	for {
		f, err := r.read()
		if err != nil || f.kind != kindHeartbeat {
			return
		}
		if f.flags&flagSame == 0 {
			if list, err = parseRenewals(f.body, i.r.config.Shards); err != nil {
				i.r.config.Log.Warn("a heartbeat cannot be read", "from", from.Node, "err", err)
				return
			}
		}
		granted := make([]byte, (len(list)+7)/8)
		i.noteHeartbeat(from, f.x)
		for at, renewal := range list {
			source := shard.Source{From: from, Epoch: renewal.epoch, Leader: renewal.leader}
			if i.r.config.Store.Shard(renewal.shard).Member().Renew(&source) {
				granted[at/8] |= 1 << (at % 8)
			}
		}
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		answer := frame{kind: kindGranted, flags: uint8(i.r.config.Store.Full()), x: f.x, body: granted}
		if _, err := conn.Write(answer.appendTo(nil)); err != nil {
			return
		}
	}
}
