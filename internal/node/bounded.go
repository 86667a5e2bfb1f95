package node

import (
	"net"
	"sync"
)

// bounded is a listener with a limited number of connections: one more waits to be accepted until another ends.
type bounded struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once // closes closed
}

// bound returns l with at most n connections; l itself for 0.
func bound(l net.Listener, n int) net.Listener {
	if n == 0 {
		return l
	}
	return &bounded{Listener: l, places: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &boundedConn{Conn: conn, leave: func() { <-b.places }}, nil
}

// Close implements net.Listener.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	defer c.once.Do(c.leave)
	return c.Conn.Close()
}
