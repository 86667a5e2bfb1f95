package node

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// bounded is a listener of an HTTP server that limits its open connections. A further one takes the place of the connection that
// has been silent for the longest, unless all serve requests: clients that hold idle connections do not lock others out.
type bounded struct {
	net.Listener
	most  int
	freed chan struct{} // capacity 1: a connection has closed or its request has ended

	mu     sync.Mutex // guards all below, and the fields of the connections
	open   map[*boundedConn]struct{}
	closed bool
}

// bound limits l to n connections; 0 is no limit.
func bound(l net.Listener, n int) net.Listener {
	if n == 0 {
		return l
	}
	return &bounded{Listener: l, most: n, freed: make(chan struct{}, 1), open: map[*boundedConn]struct{}{}}
}

// Accept implements net.Listener. While all connections serve requests, it waits with an accepted one.
func (b *bounded) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for !b.makeRoom() {
		<-b.freed
	}
	c := &boundedConn{Conn: conn, of: b, used: time.Now()}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	b.open[c] = struct{}{}
	return c, nil
}

// makeRoom reports whether there is room for one more connection, also by closing another.
func (b *bounded) makeRoom() bool {
	var idle *boundedConn
	b.mu.Lock()
	room := len(b.open) < b.most || b.closed
	if !room {
		for c := range b.open {
			if !c.busy && (idle == nil || c.used.Before(idle.used)) {
				idle = c
			}
		}
	}
	b.mu.Unlock()
	if idle != nil {
		idle.Close()
	}
	return room || idle != nil
}

// Close implements net.Listener.
func (b *bounded) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wake()
	return b.Listener.Close()
}

func (b *bounded) wake() {
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

// boundedConn is a connection of a bounded listener.
type boundedConn struct {
	net.Conn
	of   *bounded
	busy bool      // it serves a request
	used time.Time // when the last request ended, or the connection began
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	c.of.wake()
	return c.Conn.Close()
}

func (c *boundedConn) serves(busy bool) {
	c.of.mu.Lock()
	c.busy, c.used = busy, time.Now()
	c.of.mu.Unlock()
	if !busy {
		c.of.wake()
	}
}

type connKey struct{}

// withConn is for http.Server.ConnContext: it lets markBusy find the connection of a request.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if encrypted, is := conn.(*tls.Conn); is {
		conn = encrypted.NetConn()
	}
	return context.WithValue(ctx, connKey{}, conn)
}

// markBusy keeps the connections of requests open while h serves them.
func markBusy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, is := r.Context().Value(connKey{}).(*boundedConn); is {
			c.serves(true)
			defer c.serves(false)
		}
		h.ServeHTTP(w, r)
	})
}
