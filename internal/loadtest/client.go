package loadtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"
)

// abortGrace is how long a client still waits for replies once its context has ended.
const abortGrace = 500 * time.Millisecond

// maxHops is the number of redirects that a client follows for one operation.
const maxHops = 5

// errRefused is returned for what surely had no effect.
var errRefused = errors.New("refused")

// client sends each command once. It follows redirects, because a node that redirects has done nothing, and repeats
// nothing else. One goroutine uses it.
type client struct {
	addrs   []string
	dial    Dial
	timeout time.Duration
	random  *rand.Rand
	strange func(error) // reports an error that no load should get

	mu      sync.Mutex       // guards links, and orders deadlines before and after aborted
	links   map[string]*link // by address
	aborted bool
}

func newClient(addrs []string, dial Dial, timeout time.Duration, random *rand.Rand, strange func(error)) *client {
	return &client{addrs: addrs, dial: dial, timeout: timeout, random: random, strange: strange, links: map[string]*link{}}
}

// abort makes everything that the client waits for end soon.
func (c *client) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	for _, l := range c.links {
		_ = l.SetDeadline(time.Now().Add(abortGrace)) // it fails on a closed connection only
	}
}

// close closes all connections.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		l.Close()
	}
	clear(c.links)
}

// drop closes a connection whose replies are of no use any more.
func (c *client) drop(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.links[address]; l != nil {
		l.Close()
		delete(c.links, address)
	}
}

// arm bounds the wait for the next replies of a connection.
func (c *client) arm(l *link) error {
	c.mu.Lock() // an abort comes before or after, and its deadline stays
	defer c.mu.Unlock()
	if c.aborted {
		return l.SetDeadline(time.Now().Add(abortGrace))
	}
	return l.SetDeadline(time.Now().Add(c.timeout))
}

// link returns a connection to a node.
func (c *client) link(ctx context.Context, address string) (*link, error) {
	c.mu.Lock()
	l := c.links[address]
	c.mu.Unlock()
	if l != nil {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(c.timeout, time.Second))
	defer cancel()
	conn, err := c.dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	l = &link{conn, bufio.NewReader(conn)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links[address] = l
	return l, nil
}

// anyAddress returns the address of a random node.
func (c *client) anyAddress() string { return c.addrs[c.random.IntN(len(c.addrs))] }

// round sends bytes to a node and returns n replies. An error that is not errRefused means that the outcome is unknown.
func (c *client) round(ctx context.Context, address string, b []byte, n int) ([]answer, error) {
	l, err := c.link(ctx, address)
	if err != nil {
		return nil, err
	}
	return c.roundOn(l, address, b, n)
}

// roundOn is round on a connection, which may have watched keys.
func (c *client) roundOn(l *link, address string, b []byte, n int) ([]answer, error) {
	if err := c.arm(l); err != nil {
		c.drop(address)
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	answers, err := l.round(b, n)
	if err != nil {
		c.drop(address)
		if errors.Is(err, errNotRESP) {
			c.strange(err)
		}
	}
	return answers, err
}

// send sends a command, or several within MULTI and EXEC, to the node that serves the group, and returns their
// replies, or errRefused, or an error that leaves the outcome unknown.
func (c *client) send(ctx context.Context, g *group, commands [][]string, exec bool) ([]answer, error) {
	b, n := encode(commands, exec)
	for range maxHops {
		address := g.node(c)
		answers, err := c.round(ctx, address, b, n)
		if err != nil {
			g.misled(address)
			return nil, err
		}
		if to, moved := redirectIn(answers); moved && answers[n-1].kind == '-' {
			g.served(to)
			continue
		}
		if err = c.failure(answers[n-1]); err != nil {
			g.misled(address)
			return nil, err
		}
		g.served(address)
		if exec {
			return answers[n-1].items, nil
		}
		return answers, nil
	}
	g.served("")
	return nil, fmt.Errorf("%w: too many redirects", errRefused)
}

// encode returns commands as bytes, and the number of replies to them.
func encode(commands [][]string, exec bool) (b []byte, replies int) {
	if exec {
		b, replies = appendCommand(b, "MULTI"), 2
	}
	for _, args := range commands {
		b = appendCommand(b, args...)
	}
	if exec {
		b = appendCommand(b, "EXEC")
	}
	return b, replies + len(commands)
}

func redirectIn(answers []answer) (address string, moved bool) {
	for i := range answers {
		if answers[i].kind == '-' {
			if address, moved = movedTo(answers[i].text); moved {
				return address, true
			}
		}
	}
	return "", false
}

// failure returns nil for a reply that is not an error.
func (c *client) failure(a answer) error {
	if a.kind != '-' {
		return nil
	}
	o, expected := failureOf(a.text)
	if !expected {
		c.strange(errors.New(a.text))
	}
	if o == refused {
		return fmt.Errorf("%w: %s", errRefused, a.text)
	}
	return errors.New(a.text)
}

// watch watches a key, and returns its value then and the connection that watches. It reads the key before and after,
// and returns no connection if the two differ: a key that is missing at WATCH, has a value at the read behind it and is
// missing at EXEC has not changed, so what a read behind WATCH returns alone need not be what EXEC finds.
func (c *client) watch(ctx context.Context, g *group, key string) (value answer, l *link, address string, err error) {
	b := appendCommand(nil, "NP.GET", key, "WITHATTRS")
	b = append(appendCommand(b, "WATCH", key), b...)
	for range maxHops {
		address = g.node(c)
		if l, err = c.link(ctx, address); err != nil {
			g.misled(address)
			return value, nil, "", err
		}
		answers, err := c.roundOn(l, address, b, 3)
		if err != nil {
			g.misled(address)
			return value, nil, "", err
		}
		to, moved := redirectIn(answers)
		if !moved {
			err = errors.Join(c.failure(answers[0]), c.failure(answers[1]), c.failure(answers[2]))
		}
		if moved || err != nil {
			c.drop(address) // a watch may be left on it
			g.misled(address)
		}
		if err != nil {
			return value, nil, "", err
		}
		if !moved {
			if !reflect.DeepEqual(answers[0], answers[2]) {
				c.drop(address)
				l = nil
			}
			return answers[2], l, address, nil
		}
		g.served(to)
	}
	return value, nil, "", fmt.Errorf("%w: too many redirects", errRefused)
}

// abandon sends a command and closes the connection without waiting for the reply.
func (c *client) abandon(ctx context.Context, g *group, args []string) error {
	address := g.node(c)
	l, err := c.link(ctx, address)
	if err != nil {
		g.misled(address)
		return err
	}
	defer c.drop(address)
	if err := c.arm(l); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	_, err = l.Write(appendCommand(nil, args...))
	if c.random.IntN(2) == 0 {
		time.Sleep(time.Duration(c.random.IntN(1000)) * time.Microsecond)
	}
	return err
}
