package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ndring/ndring/bench/clusters"
)

// client is a minimal cluster client. It sends each write to the node that answered last, follows
// MOVED, and goes to another node after a failure. It never retries by itself.
type client struct {
	cluster *clusters.Cluster
	wait    time.Duration // of the WAIT 1 after each write; 0: none
	limit   time.Duration // for one attempt

	at    string // address of the node to ask
	conns map[string]*clusters.Conn
	turn  int // the next node of the cluster after a failure
}

func newClient(c *clusters.Cluster, wait, limit time.Duration) *client {
	return &client{cluster: c, wait: wait, limit: limit, at: c.Nodes[0].Addr, conns: map[string]*clusters.Conn{}}
}

func (c *client) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

// outcome is what is known about a write.
type outcome int

const (
	refused outcome = iota // it did not happen
	unknown                // it may have happened, or may still
	stored                 // the primary stored it, and WAIT did not find a replica that has it
	acked                  // acknowledged: WAIT, if it is sent, found a replica
)

// set makes one attempt to store a value. It follows MOVED at once: a redirect is not a failure.
func (c *client) set(key string, value []byte) (outcome, error) {
	const redirects = 5
	for range redirects {
		result, err := c.try(key, value)
		if addr, moved := clusters.Moved(err); moved {
			c.at = addr
			continue
		}
		if err != nil {
			c.next()
		}
		return result, err
	}
	c.next()
	return refused, errors.New("too many redirects")
}

// next goes to another node.
func (c *client) next() {
	nodes := c.cluster.Nodes
	c.turn = (c.turn + 1) % len(nodes)
	if nodes[c.turn].Addr == c.at {
		c.turn = (c.turn + 1) % len(nodes)
	}
	c.at = nodes[c.turn].Addr
}

func (c *client) conn() (*clusters.Conn, error) {
	if conn := c.conns[c.at]; conn != nil {
		return conn, nil
	}
	conn, err := clusters.Dial(c.at, c.limit)
	if err == nil {
		c.conns[c.at] = conn
	}
	return conn, err
}

func (c *client) drop() {
	c.conns[c.at].Close()
	delete(c.conns, c.at)
}

func (c *client) try(key string, value []byte) (outcome, error) {
	conn, err := c.conn()
	if err != nil {
		return refused, err
	}
	commands := []clusters.Command{{c.cluster.Set, key, string(value)}}
	if c.wait > 0 {
		commands = append(commands, clusters.Command{"WAIT", "1", strconv.FormatInt(c.wait.Milliseconds(), 10)})
	}
	replies, err := conn.Pipeline(commands...)
	if err != nil {
		c.drop()
		return unknown, err
	}
	if err := replies[0].Err; err != nil {
		if strings.HasPrefix(err.Error(), "UNCERTAIN") {
			return unknown, err
		}
		return refused, err
	}
	if c.wait > 0 && (replies[1].Err != nil || replies[1].Text == "0") {
		return stored, nil
	}
	return acked, nil
}

// read returns the value of a key; a failure is retried until the limit.
func (c *client) read(key string, limit time.Duration) (string, error) {
	for end := time.Now().Add(limit); ; time.Sleep(retryPause) {
		conn, err := c.conn()
		if err == nil {
			var value string
			value, err = conn.Do(c.cluster.Get, key)
			if err == nil {
				return value, nil
			}
			var reply clusters.ErrorReply
			if !errors.As(err, &reply) {
				c.drop()
			}
			if addr, moved := clusters.Moved(err); moved {
				c.at = addr
				continue
			}
		}
		if time.Now().After(end) {
			return "", err
		}
		c.next()
	}
}

// ledger is what a writer knows about one key, to which it writes the numbers 1, 2, 3 and so on.
type ledger struct {
	key     string
	last    int   // the last number that was sent
	acked   []int // ascending
	unknown []int // no reply came, or UNCERTAIN
}

func (l *ledger) record(result outcome) {
	switch result {
	case acked:
		l.acked = append(l.acked, l.last)
	case unknown:
		l.unknown = append(l.unknown, l.last)
	}
}

// lost judges the number that was read at the end, 0 for a missing key. It returns how many acknowledged
// writes are newer. A write of unknown outcome may take effect late, over newer ones: if it was read,
// it is doubtful whether anything is lost.
func (l *ledger) lost(read int) (lost int, doubtful bool) {
	for _, n := range l.acked {
		if n > read {
			lost++
		}
	}
	if lost > 0 && slices.Contains(l.unknown, read) {
		return 0, true
	}
	return lost, false
}
