// Package ready waits for the servers that the benchmarks start. An open port is not enough: a
// server may still be loading its data or joining its cluster.
package ready

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// Question is a request that a ready server answers as expected.
type Question struct {
	Text, Answer string
	TLS          bool // the server speaks it
}

var (
	// Keys asks a RESP server for a key, which it can answer only once it serves keys.
	Keys = Question{"*2\r\n$6\r\nEXISTS\r\n$5\r\nready\r\n", ":", false}
	// SecureKeys is Keys over TLS, with any certificate.
	SecureKeys = Question{Keys.Text, Keys.Answer, true}
	// Ping is for a RESP server without keys.
	Ping = Question{"*1\r\n$4\r\nPING\r\n", "+PONG", false}
	// Version is for memcached.
	Version = Question{"version\r\n", "VERSION", false}
)

const (
	pause   = 2 * time.Millisecond
	silence = 5 * time.Second // limit for one reply
)

// Wait returns once the server at addr answers as expected. When ctx is done, it returns the error
// of the last try.
func Wait(ctx context.Context, addr string, q Question) error {
	for {
		err := ask(ctx, addr, q)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w)", addr, err, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

func ask(ctx context.Context, addr string, q Question) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	if q.TLS {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := c.Write([]byte(q.Text)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, q.Answer) {
		return fmt.Errorf("it replied %.200q", line)
	}
	return nil
}
