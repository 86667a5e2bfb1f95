package bus

import (
	"cmp"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Link describes one connection.
type Link struct {
	Peer     Peer
	Address  string
	Kind     Kind
	Inbound  bool
	Since    time.Time
	BytesIn  int64
	BytesOut int64
}

// link is a connection whose handshake is done. It counts its bytes and stays in the registry until it is closed.
type link struct {
	net.Conn
	registry *registry
	local    Identity // as the peer knows it
	peer     Peer
	kind     Kind
	inbound  bool
	guest    bool // one of the two nodes belongs to no cluster
	since    time.Time
	in, out  atomic.Int64

	once sync.Once // guards the body of Close
	err  error
}

func (l *link) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.in.Add(int64(n))
	return n, err
}

func (l *link) Write(b []byte) (int, error) {
	n, err := l.Conn.Write(b)
	l.out.Add(int64(n))
	return n, err
}

// Close closes the connection. Every call returns the result of the first.
func (l *link) Close() error {
	l.once.Do(func() {
		l.registry.remove(l)
		l.err = l.Conn.Close()
	})
	return l.err
}

// registry holds the links of a Bus, and limits the inbound ones.
type registry struct {
	maxInbound, maxGuests int

	mu     sync.Mutex // guards all below
	closed bool
	all    map[*link]struct{}
	// Invariant: inbound and guests count the links in all that are inbound, and those of them with guests.
	inbound, guests int
}

func newRegistry(maxInbound, maxGuests int) registry {
	return registry{maxInbound: maxInbound, maxGuests: maxGuests, all: make(map[*link]struct{})}
}

// admit adds a link, unless that would exceed a limit or the Bus is closing.
func (r *registry) admit(l *link) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return net.ErrClosed
	case l.inbound && (r.inbound >= r.maxInbound || l.guest && r.guests >= r.maxGuests):
		return ErrBusy
	}
	r.count(l, 1)
	r.all[l] = struct{}{}
	return nil
}

func (r *registry) remove(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.all[l]; ok {
		r.count(l, -1)
		delete(r.all, l)
	}
}

// count must be called with mu held.
func (r *registry) count(l *link, n int) {
	if l.inbound {
		r.inbound += n
	}
	if l.inbound && l.guest {
		r.guests += n
	}
}

func (r *registry) list() []Link {
	r.mu.Lock()
	out := make([]Link, 0, len(r.all))
	for l := range r.all {
		out = append(out, Link{
			Peer: l.peer, Address: l.peer.Address, Kind: l.kind, Inbound: l.inbound, Since: l.since,
			BytesIn: l.in.Load(), BytesOut: l.out.Load(),
		})
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(x, y Link) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Peer.Node, y.Peer.Node), cmp.Compare(x.Address, y.Address))
	})
	return out
}

// closeTo closes the links with the nodes that drop names.
func (r *registry) closeTo(drop func(Peer) bool) (closed int) {
	r.mu.Lock()
	var gone []*link
	for l := range r.all {
		if drop(l.peer) {
			gone = append(gone, l)
		}
	}
	r.mu.Unlock()
	for _, l := range gone {
		l.Close()
	}
	return len(gone)
}

// close closes all links and admits no more.
func (r *registry) close() {
	r.mu.Lock()
	r.closed = true
	open := make([]*link, 0, len(r.all))
	for l := range r.all {
		open = append(open, l)
	}
	r.mu.Unlock()
	for _, l := range open {
		l.Close()
	}
}

// logLimiter passes one log line per subject and ten seconds, and logLines of all subjects, because anyone may connect as often as
// they like, and from many addresses.
type logLimiter struct {
	mu    sync.Mutex // guards all below
	last  map[string]time.Time
	since time.Time // start of the ten seconds in which lines are counted
	lines int
}

const logLines = 50

func (l *logLimiter) pass(subject string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= 10*time.Second {
		l.since, l.lines = now, 0
	}
	if t, ok := l.last[subject]; ok && now.Sub(t) < 10*time.Second || l.lines >= logLines {
		return false
	}
	if l.last == nil || len(l.last) >= 256 {
		l.last = make(map[string]time.Time)
	}
	l.last[subject] = now
	l.lines++
	return true
}
