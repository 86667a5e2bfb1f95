package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/protocol/bus"
)

// greet connects to a bus port with a HELLO, and returns the connection and whether it was admitted.
func greet(t *testing.T, address string, hello []byte) (conn net.Conn, admitted bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute)) // against a hang
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 12)
	if _, err := io.ReadFull(conn, head); err != nil {
		return conn, false
	}
	if _, err := io.ReadFull(conn, make([]byte, binary.LittleEndian.Uint16(head[8:]))); err != nil {
		t.Fatal(err)
	}
	return conn, head[4] == 2 // WELCOME
}

// A peer that completes the handshake, as a guest or as a member, and then misbehaves neither ends nor fills the node, and others
// still reach it.
func TestBadPeers(t *testing.T) {
	t.Parallel()
	began := time.Now()
	seed := uint64(began.UnixNano())
	t.Logf("seed %d", seed)
	p := startBuilt(t, "--shards", "16")
	at := p.ports(t)
	g := badBus{rand.New(rand.NewPCG(seed, 0)), at.cluster}
	good := p.dial(t)
	goroutines, files, resident := figure(t, p.http, "go_goroutines"), figure(t, p.http, "process_open_fds"), p.resident(t)
	request := func(m cluster.Method, id uint64, payload string) []byte {
		return bus.AppendFrame(nil, bus.Frame{Type: uint8(m), Request: id, Payload: append(make([]byte, 4), payload...)})
	}
	member, _ := greet(t, at.bus, g.hello(bus.KindControl, at.cluster, g.node()))
	serves := func(when string) {
		t.Helper()
		if _, err := member.Write(request(cluster.MethodProbe, 1, "")); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if f, err := bus.ReadFrame(member, nil, 1<<20); err != nil || f.Request != 1 {
			t.Fatalf("%s a member gets no reply: %v", when, err)
		}
		if got := good.say("PING"); got != "+PONG" {
			t.Fatalf("%s: %s", when, got)
		}
	}
	serves("at first")
	var open []net.Conn
	misbehave := func(who, id string) {
		for range 3 * 64 { // opens many connections
			conn, admitted := greet(t, at.bus, g.hello(bus.KindControl, who, id))
			if open = append(open, conn); !admitted {
				continue
			}
			go func() { // asks and never reads a reply
				for i := range uint64(1000) {
					if _, err := conn.Write(request(cluster.MethodLoad, i, "")); err != nil {
						return
					}
				}
			}()
		}
		serves("with many connections")
		for _, sent := range [][]byte{
			bytes.Repeat(request(cluster.MethodAwaitTopology, 1, "\x7f\xff\xff\xff\xff\xff\xff\xff"), 2),                                                   // an id twice
			bytes.Repeat(bus.AppendFrame(nil, bus.Frame{Flags: 8}), 10_000),                                                                                // pings
			request(cluster.MethodPropose, 1, strings.Repeat("x", 1<<20)),                                                                                  // more than a guest may send
			append(request(cluster.MethodProbe, 1, "")[:24], "\xff\xff\xff\xff\x00\x00\x00\x00abc"...),                                                     // 4 GiB
			append(append(request(cluster.MethodPropose, 1, "")[:24], "\x00\x00\x00\x01\x00\x00\x00\x00"...), make([]byte, 1<<20)...),                      // 16 MiB, of which one arrives
			append(request(cluster.MethodProbe, 1, ""), "GET / HTTP/1.1\r\n\r\n"...), request(200, 1, "x"), request(cluster.MethodJoin, 1, `{"shards":7}`), // nonsense
		} {
			conn, admitted := greet(t, at.bus, g.hello(bus.KindControl, who, g.node()))
			open = append(open, conn)
			if admitted {
				conn.Write(sent)
				conn.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, conn)
			}
			serves(fmt.Sprintf("after %.60q", sent))
		}
	}
	misbehave("", g.node())         // a guest
	misbehave(at.cluster, g.node()) // one member
	if more := p.resident(t) - resident; more > 128*mebibyte {
		t.Errorf("%d MiB more are resident", more/mebibyte)
	}
	if _, admitted := greet(t, at.bus, g.hello(bus.KindControl, at.cluster, g.node())); !admitted {
		t.Error("another member is not admitted")
	}
	for _, conn := range open {
		conn.Close()
	}
	serves("at last")
	until(t, "goroutines and file descriptors are given back", func() bool {
		return figure(t, p.http, "go_goroutines") <= goroutines+8 && figure(t, p.http, "process_open_fds") <= files+8
	})
	most := 60 + 2*linesLimit*int(time.Since(began)/linesTime) // a slow machine gives the limit more time
	if n := strings.Count(p.logged(), "\n"); n > most || strings.Contains(p.logged(), "panic") {
		t.Errorf("%d lines:\n%s", n, p.logged())
	}
}

// A node that is said to be dead, or to have left, says that it lives, and others believe it.
func TestForgedDeathsAreRefuted(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 2)
	victim, other := nodes[0], nodes[1]
	name := fmt.Sprintf("%s/%d", victim.Self(), victim.incarnation)
	before := victim.Topology()
	for i := range 20 {
		for _, n := range nodes {
			for _, message := range [][]byte{
				gossiped(gossipSuspect, "Incarnation", 1000+i, "Node", name, "From", "someone/1"), gossiped(gossipDead, "Incarnation", 2000+i, "Node", name, "From", "someone/1"),
				gossiped(gossipDead, "Incarnation", 3000+i, "Node", name, "From", name),
			} {
				if err := attack("udp", n.GossipAddr(), message, false); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, n := range nodes {
		if refused := n.cluster.GossipRefused(); refused != 0 { // then they were not heard
			t.Errorf("%d messages were refused", refused)
		}
	}
	until(t, "the other node sees it alive", func() bool {
		alive, _, _ := other.cluster.Liveness(victim.Self())
		return alive
	})
	if after := victim.Topology(); len(after.Nodes) != len(before.Nodes) {
		t.Errorf("%d nodes, before %d", len(after.Nodes), len(before.Nodes))
	}
}
