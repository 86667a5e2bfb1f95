package main

import (
	"errors"
	"strings"
	"time"

	"github.com/ndring/ndring/bench/clusters"
)

// client is a cluster client that follows redirects and never retries a failed request.
type client struct {
	cluster *clusters.Cluster
	limit   time.Duration // for one exchange

	view  *clusters.View    // when the client began; nil: no node had one
	at    map[string]string // address of the node to ask, by key: "" after a failure
	conns map[string]*clusters.Conn
	turn  int // the node to ask about a key that has no address
}

const maxRedirects = 3 // as many as go-redis follows

func newClient(c *clusters.Cluster, limit time.Duration) *client {
	view, _ := c.View() // without one it learns from redirects
	return &client{cluster: c, limit: limit, view: view, at: map[string]string{}, conns: map[string]*clusters.Conn{}}
}

func (c *client) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *client) get(key string) error {
	return c.do(key, func(conn *clusters.Conn) error {
		_, err := conn.Do(c.cluster.Get, key)
		return err
	})
}

func (c *client) set(key string, value []byte) error {
	return c.do(key, func(conn *clusters.Conn) error { return conn.Store(c.cluster.Set, key, value) })
}

// do makes one attempt. After a failure, the next request for the key goes to another node.
func (c *client) do(key string, request func(*clusters.Conn) error) error {
	addr := c.address(key)
	var err error
	for range maxRedirects + 1 {
		if err = c.try(addr, request); err == nil {
			c.at[key] = addr
			return nil
		}
		moved, ok := clusters.Moved(err)
		if !ok {
			break
		}
		addr = moved
	}
	c.at[key] = ""
	return err
}

// address returns which node to ask: for a new key the primary, after a failure the nodes in turn.
func (c *client) address(key string) string {
	addr, known := c.at[key]
	if !known && c.view != nil {
		primary, _ := c.view.Of(clusters.Slot(key))
		if node := c.cluster.Node(primary); node != nil {
			return node.Addr
		}
	}
	if addr == "" {
		addr = c.cluster.Nodes[c.turn%len(c.cluster.Nodes)].Addr
		c.turn++
	}
	return addr
}

func (c *client) try(addr string, request func(*clusters.Conn) error) error {
	conn := c.conns[addr]
	if conn == nil {
		var err error
		if conn, err = clusters.Dial(addr, c.limit); err != nil {
			return err
		}
		c.conns[addr] = conn
	}
	err := request(conn)
	var reply clusters.ErrorReply
	if err != nil && !errors.As(err, &reply) {
		conn.Close()
		delete(c.conns, addr)
	}
	return err
}

// reason returns what kind of failure an error is: the first word of an error reply, or "connection".
func reason(err error) string {
	var reply clusters.ErrorReply
	if errors.As(err, &reply) {
		word, _, _ := strings.Cut(string(reply), " ")
		return word
	}
	return "connection"
}
