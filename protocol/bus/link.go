package bus

import (
	"cmp"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Link tells of one connection, for those who look at the cluster.
type Link struct {
	Peer     Peer
	Address  string
	Kind     Kind
	Inbound  bool
	Since    time.Time
	BytesIn  int64
	BytesOut int64
}

// Links returns the connections after their handshakes, oldest first.
func (b *Bus) Links() []Link {
	b.mu.Lock()
	out := make([]Link, 0, len(b.links))
	for l := range b.links {
		out = append(out, Link{
			Peer: l.peer, Address: l.peer.Address, Kind: l.kind, Inbound: l.inbound, Since: l.since,
			BytesIn: l.in.Load(), BytesOut: l.out.Load(),
		})
	}
	b.mu.Unlock()
	slices.SortFunc(out, func(x, y Link) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Peer.Node, y.Peer.Node), cmp.Compare(x.Address, y.Address))
	})
	return out
}

// link is a connection after its handshake. It counts its bytes, and the Bus knows of it until it is closed.
type link struct {
	net.Conn
	bus     *Bus
	mine    Identity // as it was told to the peer
	peer    Peer
	kind    Kind
	inbound bool
	guest   bool // one of the two is in no cluster
	since   time.Time
	in, out atomic.Int64

	once sync.Once // guards what Close does
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

// Close ends the connection. Every call returns what the first one did.
func (l *link) Close() error {
	l.once.Do(func() {
		l.bus.forget(l)
		l.err = l.Conn.Close()
	})
	return l.err
}

// admit makes a connection one of the Bus's, unless there are too many.
func (b *Bus) admit(l *link) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closing:
		return net.ErrClosed
	case l.inbound && (b.inbound >= b.options.MaxLinks || l.guest && b.guests >= b.options.MaxGuests):
		return ErrBusy
	}
	b.count(l, 1)
	b.links[l] = struct{}{}
	return nil
}

func (b *Bus) forget(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.links[l]; ok {
		b.count(l, -1)
		delete(b.links, l)
	}
}

// count is called with mu held.
func (b *Bus) count(l *link, n int) {
	if l.inbound {
		b.inbound += n
	}
	if l.inbound && l.guest {
		b.guests += n
	}
}

// limiter lets one line of a subject through every ten seconds: anyone may knock as often as they like.
type limiter struct {
	mu   sync.Mutex // guards last
	last map[string]time.Time
}

func (l *limiter) pass(subject string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.last[subject]; ok && now.Sub(t) < 10*time.Second {
		return false
	}
	if l.last == nil || len(l.last) >= 256 {
		l.last = make(map[string]time.Time)
	}
	l.last[subject] = now
	return true
}
