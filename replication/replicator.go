package replication

import (
	"context"
	"log/slog"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// Kind is the purpose of a connection between two nodes.
type Kind int

// The kinds.
const (
	Append Kind = iota
	Bulk
	Heartbeat
)

// Conn is a connection between the processes of two nodes.
type Conn struct {
	net.Conn
	// Version is the highest version of the bus's protocol that both ends speak. What a later version has brought must not be sent.
	Version uint8
}

// Config is what a Replicator works with. All fields but MoveRate are required.
type Config struct {
	Self  replica.Process
	Store *shard.Store
	// Shards is the number of shards.
	Shards int
	// Dial connects to a process; a later process of the same node is an error.
	Dial func(ctx context.Context, to replica.Process, kind Kind) (Conn, error)
	Log  *slog.Logger
	// Requests returns how many requests of clients have come so far. While some come, catch-ups rest most of the time.
	Requests func() int64
	// MoveRate returns how many bytes a second this node may send to learners; 0 for no limit. Nil: no limit.
	MoveRate func() int64
}

// Replicator sends what this node's shards append to the other copies, and takes what other nodes' shards append. It implements
// shard.Replicator.
type Replicator struct {
	config  Config
	context context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	slots   chan struct{} // of learners that catch up
	urgent  chan struct{} // of members of the ISR that do: writers wait for them
	pacer   pacer
	limiter limiter

	peers   atomic.Pointer[map[replica.Process]*peer] // is replaced as a whole, under mu
	rows    []atomic.Pointer[row]                     // by shard
	inbound inbound
	stats   Stats

	mu     sync.Mutex // guards the change of peers and rows; comes after the locks of shards and before peer.mu
	closed bool
	sweeps bool // inbound.sweepLoop runs
}

// row is to whom a shard is sent.
type row struct{ streams []*stream }

// Stats are totals since the start.
type Stats struct {
	BytesOut, BytesIn atomic.Int64
	Moved             atomic.Int64 // bytes sent to learners, without heads of frames
	CatchUps          atomic.Int64
	Installs          atomic.Int64
	Uploads           atomic.Int64
}

// How many learners, and how many members of the ISR, catch up at once.
const (
	maxCatchUps = 4
	maxUrgent   = 8
)

// New returns a Replicator. It connects to others once a shard is configured to send.
func New(config Config) *Replicator {
	r := &Replicator{config: config, rows: make([]atomic.Pointer[row], config.Shards), slots: make(chan struct{}, maxCatchUps), urgent: make(chan struct{}, maxUrgent), pacer: pacer{requests: config.Requests}}
	if r.limiter.rate = config.MoveRate; r.limiter.rate == nil {
		r.limiter.rate = func() int64 { return 0 }
	}
	r.context, r.cancel = context.WithCancel(context.Background())
	r.peers.Store(&map[replica.Process]*peer{})
	r.inbound.init(r)
	return r
}

// Stats returns the totals.
func (r *Replicator) Stats() *Stats { return &r.stats }

// Close ends all connections that the Replicator has dialled. Those that others have dialled end with the bus.
func (r *Replicator) Close() {
	r.mu.Lock()
	r.closed = true
	r.cancel()
	for _, p := range *r.peers.Load() {
		p.cancel()
	}
	r.mu.Unlock()
	r.running.Wait()
	r.inbound.close()
}

// startSweeping makes values that no record names go after a while.
func (r *Replicator) startSweeping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && !r.sweeps {
		r.sweeps = true
		r.running.Go(r.inbound.sweepLoop)
	}
}

// Configure implements shard.Replicator.
func (r *Replicator) Configure(id int, config replica.Config, members []replica.Process) {
	before := r.rows[id].Load()
	if len(members) == 0 && before == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	next := &row{}
	for _, m := range members {
		s := r.peer(m).configure(id, &config)
		next.streams = append(next.streams, s)
	}
	if before != nil {
		for _, s := range before.streams {
			if !slices.Contains(next.streams, s) {
				s.peer.drop(s)
			}
		}
	}
	if len(members) == 0 {
		next = nil
	}
	r.rows[id].Store(next)
	r.removeIdlePeers()
}

// peer returns the peer of a process. The caller holds mu.
func (r *Replicator) peer(of replica.Process) *peer {
	all := *r.peers.Load()
	if p := all[of]; p != nil {
		return p
	}
	p := newPeer(r, of)
	changed := make(map[replica.Process]*peer, len(all)+1)
	for process, other := range all {
		changed[process] = other
	}
	changed[of] = p
	r.peers.Store(&changed)
	p.start()
	return p
}

// removeIdlePeers ends the peers without a stream. The caller holds mu.
func (r *Replicator) removeIdlePeers() {
	all := *r.peers.Load()
	kept := make(map[replica.Process]*peer, len(all))
	for process, p := range all {
		if p.idle() {
			p.cancel()
		} else {
			kept[process] = p
		}
	}
	if len(kept) < len(all) {
		r.peers.Store(&kept)
	}
}

// Enqueue implements shard.Replicator.
func (r *Replicator) Enqueue(to replica.Process, id int, batch *shard.Batch) {
	if current := r.rows[id].Load(); current != nil {
		for _, s := range current.streams {
			if s.peer.process == to {
				s.peer.enqueue(s, batch)
			}
		}
	}
}

// Send implements shard.Replicator.
func (r *Replicator) Send(id int) {
	if current := r.rows[id].Load(); current != nil {
		for _, s := range current.streams {
			s.peer.send()
		}
	}
}

// Room implements shard.Replicator. Only members of the ISR hold writers back.
func (r *Replicator) Room(id int) <-chan struct{} {
	current := r.rows[id].Load()
	if current == nil {
		return nil
	}
	for _, s := range current.streams {
		if (s.inISR.Load() || flawed("learnerBlocks")) && s.inFlight.full() {
			return s.peer.window.awaitRoom(s.inFlight.full)
		}
	}
	return nil
}

// full are the flags of an acknowledgement that say what is exhausted at its process.
const full = replica.AckMemoryFull | replica.AckDiskFull

// Full implements shard.Replicator.
func (r *Replicator) Full(id int) (flags replica.AckFlags) {
	current := r.rows[id].Load()
	if current == nil {
		return 0
	}
	for _, s := range current.streams {
		if s.inISR.Load() {
			flags |= replica.AckFlags(s.peer.full.Load())
		}
	}
	return flags
}

// Heard implements shard.Replicator.
func (r *Replicator) Heard(from replica.Process, id int, leader uint64) int64 {
	current := r.rows[id].Load()
	if current == nil {
		return math.MinInt64
	}
	for _, s := range current.streams {
		if s.peer.process == from {
			return s.lease.sentAt(leader)
		}
	}
	return math.MinInt64
}

// Round implements shard.Replicator.
func (r *Replicator) Round(id int) {
	if current := r.rows[id].Load(); current != nil {
		for _, s := range current.streams {
			notify(s.peer.round)
		}
	}
}

// lease is when the newest heartbeat left that a peer has acknowledged for a shard.
type lease struct{ leader, sent atomic.Uint64 }

// sentAt returns that time for a leader epoch.
func (l *lease) sentAt(leader uint64) int64 {
	if l.leader.Load() != leader {
		return math.MinInt64
	}
	sent := int64(l.sent.Load())
	if l.leader.Load() != leader || sent == 0 { // another leader epoch has begun meanwhile
		return math.MinInt64
	}
	return sent
}

// set notes an acknowledged heartbeat. One goroutine of a peer calls it.
func (l *lease) set(leader uint64, sent int64) {
	switch {
	case l.leader.Load() != leader:
		l.sent.Store(0)
		l.leader.Store(leader)
		l.sent.Store(uint64(sent))
	case int64(l.sent.Load()) < sent:
		l.sent.Store(uint64(sent))
	}
}

// pause waits, but not longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
