package screen

import (
	"bytes"
	"encoding/hex"
	"io"
	"log"
	"maps"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// patience is how long a test waits for something that should happen at once.
const patience = 30 * time.Second

func listen(t testing.TB, secret bool) *Transport {
	t.Helper()
	transport, err := Listen("127.0.0.1", 0, options(secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { transport.Shutdown() })
	return transport
}

func at(t *Transport) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port())) }

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Two nodes find each other: one that screens, and one from before, whose memberlist uses its own
// transport. None of their messages is refused.
func TestMembersMeet(t *testing.T) {
	t.Parallel()
	key, _ := hex.DecodeString("00112233445566778899aabbccddeeff")
	for name, key := range map[string][]byte{"plain": nil, "encrypted": key} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := listen(t, key != nil)
			screened := start(t, "screened", transport, key)
			second := listen(t, key != nil)
			other := start(t, "other", second, key)
			plain, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: log.New(io.Discard, "", 0)})
			if err != nil {
				t.Fatal(err)
			}
			before := start(t, "before", plain, key)
			for _, list := range []*memberlist.Memberlist{before, other} {
				if _, err := list.Join([]string{at(transport)}); err != nil {
					t.Fatal(err)
				}
			}
			for _, list := range []*memberlist.Memberlist{screened, other, before} {
				eventually(t, "three members", func() bool { return list.NumMembers() == 3 })
			}
			if err := before.Leave(patience); err != nil {
				t.Fatal(err)
			}
			for _, list := range []*memberlist.Memberlist{screened, other} {
				eventually(t, "two members", func() bool { return list.NumMembers() == 2 })
			}
			if n := transport.options.Refused.Load() + second.options.Refused.Load(); n != 0 {
				t.Errorf("%d messages of nodes were refused", n)
			}
		})
	}
}

// Hostile streams and datagrams do not harm the node.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	transport := listen(t, false)
	list := start(t, "a", transport, nil)
	address := at(transport)
	for _, tc := range bad {
		for _, network := range []string{"tcp", "udp"} {
			conn, err := net.Dial(network, address)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(tc.bytes); err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				tcp.CloseWrite()
				conn.SetReadDeadline(time.Now().Add(patience))
				if reply, err := io.ReadAll(conn); len(reply) > 0 || err != nil && isTimeout(err) {
					t.Errorf("%s gets the reply %q, %v", tc.name, reply, err)
				}
			}
			conn.Close()
		}
	}
	eventually(t, "all are refused", func() bool { return transport.options.Refused.Load() >= int64(2*len(bad)) })
	if list.NumMembers() != 1 {
		t.Errorf("hostile members were admitted: %v", list.Members())
	}
	other := start(t, "b", listen(t, false), nil)
	if _, err := other.Join([]string{address}); err != nil {
		t.Errorf("the node has stopped working: %v", err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// A hostile reply to a join does not harm the joining node.
func TestHostileReply(t *testing.T) {
	t.Parallel()
	hostile, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hostile.Close()
	answers := make(chan []byte, 1)
	go func() {
		for {
			conn, err := hostile.Accept()
			if err != nil {
				return
			}
			conn.Write(<-answers)
			conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	transport := listen(t, false)
	list := start(t, "a", transport, nil)
	for _, tc := range bad {
		answers <- tc.bytes
		if _, err := list.Join([]string{hostile.Addr().String()}); err == nil {
			t.Errorf("%s was accepted as a reply", tc.name)
		}
	}
	if n := transport.options.Refused.Load(); n != int64(len(bad)) {
		t.Errorf("%d of %d replies were refused", n, len(bad))
	}
}

// The number of open streams per host is limited, and a stream that sends nothing ends by itself.
func TestStreamsAtOnce(t *testing.T) {
	t.Parallel()
	transport := listen(t, false)
	start(t, "a", transport, nil, func(c *memberlist.Config) { c.TCPTimeout = 200 * time.Millisecond })
	address := at(transport)
	var conns []net.Conn
	for range maxHostStreams + 1 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	eventually(t, "one is refused", func() bool { return transport.options.Refused.Load() == 1 })
	for i, conn := range conns { // memberlist's deadline ends those that were admitted
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); isTimeout(err) {
			t.Fatalf("stream %d stays open without a message", i)
		}
	}
	eventually(t, "room for others", func() bool {
		transport.open.mu.Lock()
		defer transport.open.mu.Unlock()
		return transport.open.total == 0
	})
}

func TestOpenStreams(t *testing.T) {
	t.Parallel()
	var p openStreams
	for i := range maxStreams {
		if !p.take(string(rune('a' + i))) {
			t.Fatalf("stream %d, from another host each, is refused", i)
		}
	}
	if p.take("another") {
		t.Error("the number of streams has no limit")
	}
	p.free("a")
	if !p.take("another") || len(p.hosts) != maxStreams {
		t.Errorf("a closed stream still counts: %d hosts", len(p.hosts))
	}
}

// A host that sends too much is ignored for a while; other hosts are not.
func TestRate(t *testing.T) {
	t.Parallel()
	var r rate
	now := time.Now()
	for i := range perSecond {
		if !r.take("a", 1, now) {
			t.Fatalf("message %d is refused", i)
		}
	}
	if r.take("a", 1, now) || !r.take("b", 1, now) {
		t.Error("hosts share one rate")
	}
	if now = now.Add(time.Second / 2); !r.take("a", perSecond/2, now) || r.take("a", 1, now) {
		t.Error("half a second does not yield half the tokens of a second")
	}
	for i := range 3 * maxHosts {
		r.take(string(rune(i)), 1, now)
	}
	if len(r.hosts) > maxHosts {
		t.Errorf("the rates of %d hosts are tracked", len(r.hosts))
	}
	indirect := typed(typeIndirectPing, packed(f{"SeqNo", 1}, f{"Target", "\x7f\x00\x00\x01"}, f{"Port", 1}, f{"Node", "a"}, f{"Nack", true}))
	if got, err := datagram(indirect); err != nil || got.cost < 10 {
		t.Errorf("an indirect ping costs %d, %v", got.cost, err)
	}
}

// The number of members is limited. Members that messages no longer name stop counting.
func TestMembersHaveALimit(t *testing.T) {
	t.Parallel()
	var m members
	now := time.Now()
	for i := range maxMembers {
		if !m.admit([]string{strconv.Itoa(i)}, now) {
			t.Fatalf("member %d is refused", i)
		}
	}
	if m.admit([]string{"one more"}, now) || !m.admit([]string{"7"}, now.Add(memberTime)) || len(m.seen) != maxMembers {
		t.Errorf("%d members are remembered", len(m.seen))
	}
	if !m.admit([]string{"one more"}, now.Add(memberTime+time.Second)) || len(m.seen) != 2 {
		t.Errorf("%d members are remembered afterwards", len(m.seen))
	}
	w, refused := newWire(), options(false)
	transport := Wrap(w, refused)
	defer transport.Shutdown()
	transport.members = members{seen: maps.Clone(m.seen)}
	for i := range maxMembers {
		transport.members.seen[strconv.Itoa(i)] = time.Now()
	}
	w.packets <- &memberlist.Packet{Buf: alive("by datagram", goodVersions), From: &net.UDPAddr{}, Timestamp: time.Now()}
	near, far := net.Pipe()
	w.streams <- far
	s := <-transport.StreamCh()
	go func() { near.Write(pushPull(1, 0, true, memberOf("by stream", goodVersions))); near.Close() }()
	if b, err := io.ReadAll(s); err == nil {
		t.Errorf("too many members pass: %q", b)
	}
	eventually(t, "both are refused", func() bool { return refused.Refused.Load() == 2 })
	s.Close()
}

// Datagrams do not retain the large buffers that they were read into.
func TestPacketsAreCopied(t *testing.T) {
	t.Parallel()
	for _, secret := range []bool{false, true} {
		w := newWire()
		transport := Wrap(w, options(secret))
		large := append(make([]byte, 0, 64<<10), alive("a", goodVersions)...)
		go func() { w.packets <- &memberlist.Packet{Buf: large, From: &net.UDPAddr{}, Timestamp: time.Now()} }()
		if p := <-transport.PacketCh(); !bytes.Equal(p.Buf, large) || cap(p.Buf) > 2*len(large) {
			t.Errorf("%d bytes are in a buffer of %d", len(p.Buf), cap(p.Buf))
		}
		transport.Shutdown()
		transport.Shutdown()
	}
}
