package replication

import (
	"context"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// peer is a process to which this node sends.
type peer struct {
	r       *Replicator
	process replica.Process
	context context.Context
	cancel  context.CancelFunc
	wake    chan struct{} // there is something to send; capacity 1
	beat    chan struct{} // send a heartbeat at once; capacity 1
	round   chan struct{} // the same, for readers; capacity 1
	bulk    bulkPool

	unsent  atomic.Bool // batches were enqueued since send was last called
	window  window
	granted atomic.Uint64
	full    atomic.Uint32 // flags of the newest acknowledgement of appends or a heartbeat
	heard   atomic.Int64  // Unix time in ns of its last acknowledgement, or of the beginning

	mu       sync.Mutex // guards all below
	streams  map[int]*stream
	queue    outgoing
	conn     net.Conn // the append connection
	asking   int      // streams in state asking
	uploaded map[uint64]struct{}
}

// stream is a shard on its way to a peer.
type stream struct {
	peer     *peer
	shard    int
	lease    lease
	inISR    atomic.Bool
	safe     atomic.Bool  // the shard has a copy in sync beside the primary
	done     atomic.Int64 // bytes that the present catch-up has sent
	inFlight inFlight

	// peer.mu guards all below.
	epoch, leader uint64
	state         state
	whole         bool   // in state catching: a whole copy is on its way to the member
	run           uint64 // rises whenever the stream is detached: a catch-up of before that ends
	endRun        context.CancelFunc
	askAt         time.Time
	refused       time.Duration // how long the stream waits since the peer had no room for it; 0: it had
	sent          uint64        // seq of the newest record that the member has or that is on its way to it
	// caughtUp is sent when the stream was attached. In what came before, the member may have deletions in the place of large values
	// that were superseded, so only digests behind it can be compared.
	caughtUp uint64
	context  context.Context
	cancel   context.CancelFunc
	member   context.Context // ends when the peer leaves the ISR; nil before it is in it
	leave    context.CancelFunc
}

// state is how far a stream is.
type state uint8

const (
	detached state = iota // the peer is not connected
	asking                // the primary asks what the member has
	catching              // a goroutine sends what the member lacks
	attached              // what is appended is sent at once
	gone                  // the shard is not sent to this peer any more
)

func newPeer(r *Replicator, process replica.Process) *peer {
	p := &peer{r: r, process: process, wake: make(chan struct{}, 1), beat: make(chan struct{}, 1), round: make(chan struct{}, 1), streams: map[int]*stream{}, uploaded: map[uint64]struct{}{}}
	p.context, p.cancel = context.WithCancel(r.context)
	p.bulk.init(p)
	p.heard.Store(time.Now().UnixNano())
	return p
}

func (p *peer) start() {
	p.r.running.Go(p.sendLoop)
	p.r.running.Go(p.beatLoop)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// configure takes a stream to a row. In another leader epoch it begins again with what the member has.
func (p *peer) configure(id int, config *replica.Config) *stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.streams[id]
	if s == nil {
		s = &stream{peer: p, shard: id, inFlight: inFlight{window: &p.window}}
		s.context, s.cancel = context.WithCancel(p.context)
		p.streams[id] = s
	}
	changed := s.epoch != config.Epoch
	another := s.leader != config.LeaderEpoch
	s.epoch, s.leader = config.Epoch, config.LeaderEpoch
	s.safe.Store(len(config.ISR) > 1)
	s.setMember(slices.Contains(config.ISR, p.process))
	switch {
	case another || s.state == detached || s.state == asking:
		p.ask(s, 0)
	case changed && s.state == attached: // the member acknowledges in the new epoch, although nothing is appended
		p.push(&frame{kind: kindAsk, shard: s.shard, epoch: s.epoch, leader: s.leader})
	}
	notify(p.beat)
	return s
}

// setMember notes whether the peer is in the ISR. The caller holds mu.
func (s *stream) setMember(is bool) {
	switch was := s.inISR.Swap(is); {
	case is && !was:
		s.member, s.leave = context.WithCancel(s.context)
	case was && !is:
		s.leave()
	}
}

// drop ends a stream.
func (p *peer) drop(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setState(s, gone)
	s.inFlight.forget(math.MaxUint64)
	s.cancel()
	delete(p.streams, s.shard)
}

// noteFull notes the flags of an acknowledgement. The flags describe the whole process, not one shard.
func (p *peer) noteFull(flags uint8) {
	if now := uint32(replica.AckFlags(flags) & full); p.full.Load() != now {
		p.full.Store(now)
	}
}

func (p *peer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.streams) == 0
}

// setState changes the state of a stream. The caller holds mu.
func (p *peer) setState(s *stream, to state) {
	if s.state == to {
		return
	}
	if s.state == asking {
		p.asking--
	}
	if to == asking {
		p.asking++
	}
	s.state = to
}

// ask detaches a stream and asks the member what it has, after a while. The caller holds mu.
func (p *peer) ask(s *stream, after time.Duration) {
	if s.state == gone {
		return
	}
	s.run++
	if s.endRun != nil { // what the catch-up sends beside the append connection would arrive late
		s.endRun()
	}
	s.inFlight.forget(math.MaxUint64)
	if !p.queue.linked {
		p.setState(s, detached)
		return
	}
	p.setState(s, asking)
	if after > 0 {
		s.askAt = time.Now().Add(after)
		notify(p.wake)
		return
	}
	p.sendAsk(s)
}

// askEvery is how often the primary asks a member that does not answer.
const askEvery = 200 * time.Millisecond

func (p *peer) sendAsk(s *stream) {
	s.askAt = time.Now().Add(askEvery)
	p.push(&frame{kind: kindAsk, shard: s.shard, epoch: s.epoch, leader: s.leader})
}

// push sends a frame. The caller holds mu.
func (p *peer) push(f *frame) {
	p.queue.add(f)
	notify(p.wake)
}

// send sends the batches that were enqueued.
func (p *peer) send() {
	if p.unsent.Load() && p.unsent.CompareAndSwap(true, false) {
		notify(p.wake)
	}
}

// enqueue makes a batch ready to be sent, if the stream is attached. The shard's writes are locked.
func (p *peer) enqueue(s *stream, b *shard.Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.state != attached {
		return
	}
	for _, l := range b.Large {
		if _, is := p.uploaded[l.ID]; !is { // it is caught up, which sends the value
			p.ask(s, 0)
			return
		}
	}
	if !s.inISR.Load() && s.inFlight.full() && !flawed("learnerBlocks") { // learners hold no writer back
		p.ask(s, 0)
		return
	}
	p.queueBatch(s, b, nil)
	if p.queue.long() {
		notify(p.wake)
	} else {
		p.unsent.Store(true)
	}
}

// pushBatch queues a batch and wakes the sender. The caller holds mu.
func (p *peer) pushBatch(s *stream, b *shard.Batch, prepared []byte) {
	p.queueBatch(s, b, prepared)
	notify(p.wake)
}

// queueBatch queues a batch. It keeps prepared, what prepare has returned for the batch; if that is nil, it copies the batch. The
// caller holds mu.
func (p *peer) queueBatch(s *stream, b *shard.Batch, prepared []byte) {
	for _, l := range b.Large {
		delete(p.uploaded, l.ID)
	}
	f := frame{kind: kindAppend, shard: s.shard, epoch: s.epoch, leader: s.leader, x: b.Prev.Epoch, y: b.Prev.Seq, z: b.Commit, body: b.Bytes}
	if prepared != nil {
		p.queue.addPrepared(&f, prepared)
	} else {
		p.queue.add(&f)
	}
	s.inFlight.add(b.Last.Seq, headBytes+len(b.Bytes), prepared != nil)
	s.sent = b.Last.Seq
}
