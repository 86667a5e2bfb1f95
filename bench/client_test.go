package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/bench/null"
)

// nothing is the server that stores nothing, in this process.
func nothing(t *testing.T) *process {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go null.Serve(l) // until the listener closes
	t.Cleanup(func() { l.Close() })
	return &process{kind: kind{name: "null", prefix: "NP."}, addr: l.Addr().String()}
}

func TestClientsReadWhatTheyAskedFor(t *testing.T) {
	p := nothing(t)
	for _, data := range []int{1 << 10, 300 << 10} {
		a := newArray(data, 100)
		if err := p.fill(a); err != nil {
			t.Fatal(err)
		}
		if err := p.each(3, a, func(w int, c *client) error {
			for range 70 { // often enough to compare the bytes more than once
				if err := c.gets([]int{w, 5, 99}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestClientsFindWrongBytes(t *testing.T) {
	p := nothing(t)
	a := newArray(1<<10, 1)
	a.file[500] ^= 1
	c, err := p.dial(a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.gets([]int{0}); err == nil || !strings.Contains(err.Error(), "wrong bytes") {
		t.Errorf("got %v", err)
	}
}

// Scripted replies of memcached.
func TestClientsSpeakMemcached(t *testing.T) {
	client1, server := net.Pipe()
	a := newArray(1<<10, 3)
	c := &client{Conn: client1, server: &process{kind: kind{name: "memcached", memcached: true}}, array: a, in: make([]byte, 4096)}
	go func() {
		got := make([]byte, 64<<10)
		server.SetDeadline(time.Now().Add(time.Minute))
		server.Read(got)
		key := string(a.key(nil, 2))
		server.Write([]byte("VALUE " + key + " 0 1152\r\n" + string(a.file) + "\r\nEND\r\n"))
		server.Read(got)
		server.Write([]byte("SERVER_ERROR object too large for cache\r\n"))
	}()
	if err := c.gets([]int{2}); err != nil {
		t.Error(err)
	}
	if err := c.sets([]int{1}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}

func TestMedianAndRatio(t *testing.T) {
	if got := median([]float64{3, 1, 2, 10}); got != (spread{2.5, 1, 10}) {
		t.Errorf("%+v", got)
	}
	l := load{Op: "GET"}
	r := &report{samples: map[load]map[string][]sample{l: {"a": {{Ops: 2}, {Ops: 6}, {Ops: 4}}, "b": {{Ops: 1}, {Ops: 2}}}}}
	if got := r.ratio(l, "a", "b", opsASecond); got != (spread{2.5, 2, 3}) { // for the rounds that both have
		t.Errorf("%+v", got)
	}
}
