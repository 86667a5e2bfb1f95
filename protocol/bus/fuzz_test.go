package bus

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/internal/uuid"
)

// fuzzMemory is how many bytes a read may allocate beyond a small multiple of its input.
const fuzzMemory = 1 << 20

func FuzzReadFrame(f *testing.F) {
	f.Add(AppendFrame(nil, Frame{Type: 1, Flags: flagReply, Shard: 2, Epoch: 3, Request: 4, Payload: []byte("payload")}))
	f.Add(AppendFrame(AppendFrame(nil, Frame{}), Frame{Type: 255, Payload: make([]byte, 300)}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		var err error
		allocated := allocating(func() {
			for err == nil {
				before := len(stream) - r.Len()
				var frame Frame
				if frame, err = ReadFrame(r, nil, 64<<20); err == nil {
					if again := AppendFrame(nil, frame); !bytes.Equal(again, stream[before:len(stream)-r.Len()]) {
						t.Errorf("written again it differs:\n%x\n%x", stream[before:], again)
					}
				}
			}
		})
		if err == io.EOF && r.Len() > 0 {
			t.Error("io.EOF before the end")
		}
		if allocated > uint64(fuzzMemory+8*len(stream)) {
			t.Errorf("%d bytes for %d", allocated, len(stream))
		}
	})
}

// puppet is a connection with scripted input. It records what is written.
type puppet struct {
	says  io.Reader
	hears bytes.Buffer
}

func (p *puppet) Read(b []byte) (int, error)       { return p.says.Read(b) }
func (p *puppet) Write(b []byte) (int, error)      { return p.hears.Write(b) }
func (p *puppet) Close() error                     { return nil }
func (p *puppet) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *puppet) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (p *puppet) SetDeadline(time.Time) error      { return nil }
func (p *puppet) SetReadDeadline(time.Time) error  { return nil }
func (p *puppet) SetWriteDeadline(time.Time) error { return nil }

func quietBus() *Bus {
	b := New(Options{Identity: func() Identity { return who(clusterA, "b") }, Log: slog.New(slog.DiscardHandler)})
	b.HandleStream(KindRaft, func(Peer, net.Conn) {})
	b.Handle(methodEcho, echo)
	return b
}

// Whatever a stranger sends, it is admitted only by the rules, and every HELLO gets a reply.
func FuzzHandshake(f *testing.F) {
	for _, g := range []greeting{
		{message: hello, min: 1, max: 1, kind: KindControl, Identity: who(none, "a")},
		{message: hello, min: 1, max: 9, kind: KindRaft, Identity: who(clusterA, "a"), wanted: Target{Node: "b", Store: uuid.UUID{'b', 7}}},
		{message: hello, min: 1, max: 1, kind: KindRaft, Identity: who(clusterB, "a")},
		{message: hello, min: 1, max: 1, kind: KindRaft, Identity: who(clusterA, "b")},
		{message: welcome, min: 1, max: 1, Identity: who(clusterA, "a")},
		{message: refuse, min: 1, max: 1, code: 3, Identity: who(clusterA, "a"), detail: "text"},
	} {
		bytes, err := g.append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes, true)
		f.Add(bytes[:len(bytes)-4], false)
	}
	f.Fuzz(func(t *testing.T, says []byte, whole bool) {
		if !whole { // gets the fuzzer past the checksum
			says = sealed(says)
		}
		b := quietBus()
		defer b.Close()
		var l *link
		var err error
		p := &puppet{says: bytes.NewReader(says)}
		if allocated := allocating(func() { l, err = b.acceptor.answerHello(p, "fuzz:1", tls.ConnectionState{}) }); allocated > fuzzMemory {
			t.Errorf("%d bytes for a handshake", allocated)
		}
		theirs, bad := readGreeting(bytes.NewReader(says))
		if bad == nil {
			again, err := theirs.append(nil)
			if back, e := readGreeting(bytes.NewReader(again)); err != nil || e != nil || !reflect.DeepEqual(back, theirs) {
				t.Errorf("%+v written and read again: %+v, %v, %v", theirs, back, err, e)
			}
		}
		reply, silent := readGreeting(&p.hears)
		var refused *HandshakeError
		switch {
		case bad != nil || theirs.message != hello:
			if l != nil || errors.As(err, &refused) || silent != io.EOF {
				t.Errorf("admitted or answered: %v", err)
			}
		case err != nil:
			if !errors.As(err, &refused) || silent != nil || reply.message != refuse || !errors.Is(err, reasonOf(reply.code)) {
				t.Errorf("refused by %+v: %v", reply, err)
			}
		default:
			if silent != nil || reply.message != welcome || l.peer.Identity != theirs.Identity || len(b.Links()) != 1 {
				t.Errorf("welcomed by %+v: %+v", reply, l.peer)
			}
			if cluster := theirs.Cluster; cluster != clusterA && (!cluster.IsZero() || l.kind != KindControl) {
				t.Errorf("admitted %+v", theirs)
			}
		}
		if l == nil && len(b.Links()) > 0 {
			t.Error("a link is left")
		}
	})
}

// sealed corrects the length and the checksum of a message.
func sealed(b []byte) []byte {
	if len(b) < prefixSize || len(b) > prefixSize+maxBody-4 {
		return b
	}
	b = bytes.Clone(b)
	b[8], b[9] = byte(len(b)-prefixSize+4), byte((len(b)-prefixSize+4)>>8)
	sum := crc32c.Checksum(b)
	return append(b, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
}

// The fuzzer chooses type, flags and request id of the frames that a guest sends after its handshake; the
// frames themselves are valid.
func FuzzServe(f *testing.F) {
	f.Add([]byte{1, 0, 1, 1, 0, 2, 0, flagPing, 0, 1, flagCancel, 2}, []byte("\x00\x00\x00\x00request"))
	f.Add([]byte{9, 0, 1}, []byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, frames, payload []byte) {
		b := quietBus()
		defer b.Close()
		var says []byte
		for i := 0; i+2 < min(len(frames), 300); i += 3 {
			says = AppendFrame(says, Frame{Type: frames[i], Flags: frames[i+1], Request: uint64(frames[i+2]), Payload: payload})
		}
		l := &link{Conn: &puppet{says: bytes.NewReader(says)}, registry: &b.core.links, local: who(clusterA, "b"), kind: KindControl, inbound: true, guest: true}
		if err := b.core.links.admit(l); err != nil {
			t.Fatal(err)
		}
		b.acceptor.serveControl(l)
		if len(b.Links()) > 0 {
			t.Error("a link is left")
		}
		p := l.Conn.(*puppet)
		for {
			reply, err := ReadFrame(&p.hears, nil, 64<<20)
			if err == io.EOF {
				return
			}
			if err != nil || reply.Flags&flagReply == 0 {
				t.Fatalf("%+v, %v", reply, err)
			}
		}
	})
}
