package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"

	"github.com/ndring/ndring/bench/npy"
)

// array is what a case stores: one file, under all of its keys.
type array struct {
	file []byte
	keys int
}

func newArray(data, keys int) *array { return &array{npy.Float32(data), keys} }

// key includes the size, which tells the server that stores nothing what to reply.
func (a *array) key(b []byte, i int) []byte {
	b = append(strconv.AppendInt(append(b, "k:"...), int64(len(a.file)), 10), ':')
	return strconv.AppendInt(b, int64(i), 10)
}

// client is one connection. It sends only SET and GET, and parses as little of a reply as possible.
type client struct {
	net.Conn
	server *process
	array  *array
	head   []byte
	key    []byte
	in     []byte
	ready  []byte // of in: read and not consumed
	checks int

	own  []int // the keys that its server serves; nil: all of the array
	wait bool  // send WAIT 1 after the SETs of a pipeline
}

func (p *process) dial(a *array) (*client, error) {
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	if p.secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	}
	return &client{Conn: c, server: p, array: a, in: make([]byte, 256<<10)}, nil
}

func (c *client) bulk(b []byte) {
	c.head = append(strconv.AppendInt(append(c.head, '$'), int64(len(b)), 10), "\r\n"...)
	c.head = append(append(c.head, b...), "\r\n"...)
}

// sets sends SETs of keys and reads the replies.
func (c *client) sets(keys []int) error {
	c.head = c.head[:0]
	file := c.array.file
	for _, i := range keys {
		c.key = c.array.key(c.key[:0], i)
		if c.server.memcached {
			c.head = fmt.Appendf(c.head, "set %s 0 0 %d\r\n", c.key, len(file))
		} else {
			c.head = append(c.head, "*3\r\n"...)
			c.bulk([]byte(c.server.prefix + "SET"))
			c.bulk(c.key)
			c.head = append(strconv.AppendInt(append(c.head, '$'), int64(len(file)), 10), "\r\n"...)
		}
		if len(file) <= 64<<10 { // everything in one write
			c.head = append(append(c.head, file...), "\r\n"...)
			continue
		}
		pieces := net.Buffers{c.head, file, crlf}
		if _, err := pieces.WriteTo(c.Conn); err != nil {
			return err
		}
		c.head = c.head[:0]
	}
	if c.wait {
		c.head = append(c.head, waitCommand...)
	}
	if len(c.head) > 0 {
		if _, err := c.Write(c.head); err != nil {
			return err
		}
	}
	want := "+OK\r\n"
	if c.server.memcached {
		want = "STORED\r\n"
	}
	for range keys {
		if err := c.expect([]byte(want)); err != nil {
			return err
		}
	}
	if c.wait {
		return c.expect([]byte(":1\r\n"))
	}
	return nil
}

// waitCommand waits up to five seconds for one replica.
const waitCommand = "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n"

// pick returns a random key of those that its server serves.
func (c *client) pick() int {
	if c.own == nil {
		return rand.IntN(c.array.keys)
	}
	return c.own[rand.IntN(len(c.own))]
}

var crlf = []byte("\r\n")

// gets sends GETs of keys and reads the replies.
func (c *client) gets(keys []int) error {
	c.head = c.head[:0]
	for _, i := range keys {
		c.key = c.array.key(c.key[:0], i)
		if c.server.memcached {
			c.head = append(append(append(c.head, "get "...), c.key...), crlf...)
			continue
		}
		c.head = append(c.head, "*2\r\n"...)
		c.bulk([]byte(c.server.prefix + "GET"))
		c.bulk(c.key)
	}
	if _, err := c.Write(c.head); err != nil {
		return err
	}
	for _, i := range keys {
		before, after := fmt.Sprintf("$%d\r\n", len(c.array.file)), "\r\n"
		if c.server.memcached {
			before = fmt.Sprintf("VALUE %s 0 %d\r\n", c.array.key(nil, i), len(c.array.file))
			after = "\r\nEND\r\n"
		}
		if err := c.expect([]byte(before)); err != nil {
			return err
		}
		if err := c.skip(c.array.file); err != nil {
			return err
		}
		if err := c.expect([]byte(after)); err != nil {
			return err
		}
	}
	return nil
}

// fill reads until at least n bytes are ready, if they fit.
func (c *client) fill(n int) error {
	if len(c.ready) >= n {
		return nil
	}
	have := copy(c.in, c.ready)
	got, err := io.ReadAtLeast(c.Conn, c.in[have:], n-have)
	c.ready = c.in[:have+got]
	return err
}

func (c *client) expect(want []byte) error {
	if err := c.fill(len(want)); err != nil {
		if len(c.ready) > 0 {
			err = fmt.Errorf("%w; it replied %.200q", err, c.ready)
		}
		return err
	}
	if !bytes.HasPrefix(c.ready, want) {
		return fmt.Errorf("%s replied %.200q, want %.40q", c.server.name, c.ready, want)
	}
	c.ready = c.ready[len(want):]
	return nil
}

// skip discards the bytes of a file; every 64th time it compares them.
func (c *client) skip(file []byte) error {
	c.checks++
	compare := c.checks%64 == 1
	for at := 0; at < len(file); {
		if len(c.ready) == 0 {
			got, err := c.Read(c.in)
			if err != nil {
				return err
			}
			c.ready = c.in[:got]
		}
		n := min(len(c.ready), len(file)-at)
		if compare && !bytes.Equal(c.ready[:n], file[at:at+n]) {
			return fmt.Errorf("%s replied with wrong bytes", c.server.name)
		}
		c.ready = c.ready[n:]
		at += n
	}
	return nil
}
