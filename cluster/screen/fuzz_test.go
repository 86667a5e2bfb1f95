package screen

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// most is how many bytes one input may allocate, in this package and in memberlist.
const most = 32 << 20

func seeds(f *testing.F) {
	for _, tc := range bad {
		f.Add(tc.bytes)
		f.Add(compressed(tc.bytes))
		f.Add(compound(tc.bytes, tc.bytes))
	}
	state := pushPull(2, 0, true, memberOf("a", goodVersions), memberOf("b", goodVersions))
	for _, b := range [][]byte{
		state, compressed(state), alive("a", goodVersions), compound(alive("a", goodVersions), alive("b", goodVersions)), summed(compressed(alive("a", goodVersions))),
		ping(1), typed(typeDead, packed(fld("Incarnation", 1), fld("Node", "a"), fld("From", "b"))), typed(typeError, packed(fld("Error", "no"))),
		typed(typeIndirectPing, packed(fld("SeqNo", 1), fld("Target", "\x7f\x00\x00\x01"), fld("Port", 1), fld("Node", "a"), fld("Nack", true))),
		typed(typeAck, packed(fld("SeqNo", 1), fld("Payload", raw("\xc0")))), typed(typeSuspect, packed(fld("Incarnation", 1), fld("Node", "a"), fld("From", "b"))),
	} {
		f.Add(b)
	}
}

func fld(name string, v any) f { return f{name, v} }

func ping(seq int) []byte { return typed(typePing, packed(f{"SeqNo", seq}, f{"Node", ""})) }

// FuzzStream sends a stream through the screen to a memberlist, and a reply to one that joins: nothing
// panics, and no input allocates much memory.
func FuzzStream(f *testing.F) {
	seeds(f)
	w := newWire()
	list := start(f, "target", Wrap(w, options(false)), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := allocated()
		near, far := net.Pipe()
		w.streams <- far
		answer(near, b)
		near, far = net.Pipe()
		w.dial = func() (net.Conn, error) { return far, nil }
		done := make(chan struct{})
		go func() { defer close(done); answer(near, b) }()
		list.Join([]string{"127.0.0.1:1"})
		<-done
		if used := allocated() - before; used > most {
			t.Fatalf("allocated %d bytes for an input of %d", used, len(b))
		}
	})
}

// answer writes b and reads until the other end closes, concurrently, because the other end may write first.
func answer(conn net.Conn, b []byte) {
	conn.SetDeadline(time.Now().Add(patience))
	read := make(chan struct{})
	go func() { defer close(read); io.Copy(io.Discard, conn) }()
	conn.Write(b)
	select { // the other end has closed, or waits for more
	case <-read:
	case <-time.After(2 * time.Millisecond):
	}
	conn.Close()
	<-read
}

// FuzzDatagram sends a datagram through the screen to a memberlist, which must still answer a ping.
func FuzzDatagram(f *testing.F) {
	seeds(f)
	w := newWire()
	transport := Wrap(w, options(false))
	start(f, "target", transport, nil)
	from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	now := time.Now()
	f.Fuzz(func(t *testing.T, b []byte) {
		before := allocated()
		for _, sent := range [][]byte{b, ping(77)} {
			now = now.Add(time.Second) // TestRate covers the rate
			w.packets <- &memberlist.Packet{Buf: bytes.Clone(sent), From: from, Timestamp: now}
		}
		for limit := time.After(patience); ; {
			select {
			case got := <-w.sent:
				if bytes.Contains(got, []byte{77}) {
					if used := allocated() - before; used > most {
						t.Fatalf("allocated %d bytes for an input of %d", used, len(b))
					}
					return
				}
			case <-limit:
				t.Fatal("the memberlist does not answer a ping")
			}
		}
	})
}
