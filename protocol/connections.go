package protocol

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

var errTooManyClients = errors.New("max number of clients reached")

// connections are the clients of a server.
type connections struct {
	mu       sync.Mutex // guards all below; a leaf
	all      map[*conn]struct{}
	ordinary int // of them, outside the reserve
	lastID   int64
	closing  bool          // no client is accepted any longer
	closed   chan struct{} // closed when closing begins

	done sync.WaitGroup // accept loops and connections
}

func newConnections() connections {
	return connections{all: make(map[*conn]struct{}), closed: make(chan struct{})}
}

// count returns the number of clients.
func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}

// Unaware returns how many clients of a server have used this node within a time before its shards went to other nodes, and were not redirected
// since.
func Unaware(s *Server, since time.Time, within time.Duration) (n int) {
	for _, c := range s.connections.sorted() {
		if c.unaware(since, within) {
			n++
		}
	}
	return n
}

// add registers the connection that create makes with its id, unless create returns nil. It returns
// errTooManyClients if there are maxclients, and net.ErrClosed once the server closes.
func (c *connections) add(config *Config, create func(id int64) *conn) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		return nil, net.ErrClosed
	case len(c.all) >= config.MaxClients && !c.displace():
		return nil, errTooManyClients
	}
	added := create(c.lastID + 1)
	if added != nil {
		c.lastID++
		c.all[added] = struct{}{}
		if c.ordinary < config.MaxClients-config.reserve() {
			c.ordinary++
		} else {
			added.reserved.inside.Store(true)
		}
	}
	return added, nil
}

func (c *connections) remove(removed *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, is := c.all[removed]; is && !removed.reserved.inside.Load() {
		c.ordinary--
	}
	delete(c.all, removed)
}

// stop begins closing: connections end as soon as they are between two commands. It reports whether this
// is the first call.
func (c *connections) stop() (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = !c.closing
	if first {
		c.closing = true
		close(c.closed)
	}
	for other := range c.all {
		other.stop()
	}
	return first
}

// cut closes all connections, also within a command, and returns how many there are.
func (c *connections) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.all {
		other.cut()
	}
	return len(c.all)
}

// sorted returns the clients, the oldest first.
func (c *connections) sorted() []*conn {
	c.mu.Lock()
	all := make([]*conn, 0, len(c.all))
	for other := range c.all {
		all = append(all, other)
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b *conn) int { return int(a.id - b.id) })
	return all
}

// largestOutput returns the largest number of reply bytes that wait for one client.
func (c *connections) largestOutput() (most int64) {
	for _, other := range c.sorted() {
		most = max(most, other.out.Waiting())
	}
	return most
}
