package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/ndring/ndring/internal/uuid"
)

// handed is a stream as its handler received it.
type handed struct {
	peer Peer
	conn net.Conn
}

func streams(n *node, kind Kind) <-chan handed {
	out := make(chan handed, 10)
	n.HandleStream(kind, func(peer Peer, conn net.Conn) { out <- handed{peer, conn} })
	return out
}

func TestStreams(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	in := streams(b, KindRaft)
	conn, _, err := a.Dial(t.Context(), Target{Address: b.address, Node: "b"}, KindRaft)
	if err != nil {
		t.Fatal(err)
	}
	got := receive(t, "the stream", in)
	if got.peer.Identity != who(clusterA, "a") || got.peer.Address != conn.LocalAddr().String() {
		t.Errorf("from %+v", got.peer)
	}
	for _, way := range []struct {
		name     string
		from, to net.Conn
	}{{"there", conn, got.conn}, {"back", got.conn, conn}} {
		if _, err := way.from.Write([]byte(way.name)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(way.name))
		if _, err := io.ReadFull(way.to, buf); err != nil || string(buf) != way.name {
			t.Errorf("%q, %v", buf, err)
		}
	}
	for _, n := range []*node{a, b} {
		if links := n.Links(); len(links) != 1 || links[0].Kind != KindRaft || links[0].BytesIn+links[0].BytesOut != int64(len("there"+"back")) {
			t.Errorf("%+v", links)
		}
	}
	conn.Close()
	if _, err := got.conn.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	got.conn.Close()
	if len(a.Links())+len(b.Links()) > 0 {
		t.Error("links are left")
	}
}

func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		of   func(a, b *node) *node
	}{{"dialling", func(a, _ *node) *node { return a }}, {"accepting", func(_, b *node) *node { return b }}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
			in := streams(b, KindRaft)
			conn, _, err := a.Dial(t.Context(), b.target(), KindRaft)
			if err != nil {
				t.Fatal(err)
			}
			got := receive(t, "the stream", in)
			tc.of(a, b).Close()
			for _, c := range []net.Conn{conn, got.conn} {
				if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
					t.Errorf("read %d, %v", n, err)
				}
			}
		})
	}
}

func TestPanicOfAStreamHandler(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	b.HandleStream(KindHeartbeat, func(Peer, net.Conn) { panic("at the disco") })
	b.Handle(methodEcho, echo)
	conn, _, err := a.Dial(t.Context(), b.target(), KindHeartbeat)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the stream is still open")
	}
	if _, err := a.call(b.target(), methodEcho, ""); err != nil {
		t.Error(err)
	}
}

func TestTwoHandlersAreAMistake(t *testing.T) {
	t.Parallel()
	b := begin(t, who(clusterA, "b"))
	b.Handle(methodEcho, echo)
	b.HandleStream(KindRaft, func(Peer, net.Conn) {})
	for name, f := range map[string]func(){
		"method":  func() { b.Handle(methodEcho, echo) },
		"stream":  func() { b.HandleStream(KindRaft, func(Peer, net.Conn) {}) },
		"control": func() { b.HandleStream(KindControl, func(Peer, net.Conn) {}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// A node restarts at another address, under the host name by which it is dialled.
func TestPeerRestarts(t *testing.T) {
	t.Parallel()
	var address atomic.Pointer[string]
	a := begin(t, who(clusterA, "a"), func(o *Options) {
		o.Dialer = func(ctx context.Context, network, name string) (net.Conn, error) {
			if name != "b:17379" {
				return nil, fmt.Errorf("who is %s?", name)
			}
			return (&net.Dialer{}).DialContext(ctx, network, *address.Load())
		}
	})
	call := func(target Target) (Peer, error) {
		_, peer, err := a.Call(t.Context(), target, methodEcho, nil)
		return peer, err
	}
	to := Target{Address: "b:17379", Node: "b"}
	for incarnation := uint64(1); incarnation <= 3; incarnation++ {
		identity := who(clusterA, "b")
		identity.Incarnation = incarnation
		b := begin(t, identity)
		b.Handle(methodEcho, echo)
		address.Store(&b.address)
		for range 3 {
			if peer, err := call(to); err != nil || peer.Identity != identity || peer.Address != "b:17379" {
				t.Errorf("incarnation %d: %+v, %v", incarnation, peer, err)
			}
		}
		b.Close()
		eventually(t, "the end of the connection is noticed", func() bool { return len(a.Links()) == 0 })
	}
	// Another node gets its host name.
	c := begin(t, who(clusterA, "c"))
	c.Handle(methodEcho, echo)
	address.Store(&c.address)
	for range 2 {
		if _, err := call(to); !errors.Is(err, ErrOtherNode) {
			t.Error(err)
		}
		if peer, err := call(Target{Address: "b:17379"}); err != nil || peer.Node != "c" {
			t.Errorf("%+v, %v", peer, err)
		}
	}
	if links := a.Links(); len(links) != 1 {
		t.Errorf("%+v", links)
	}
	if _, err := call(Target{Address: "d:17379"}); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// Both sides learn the current identity of the other: no handler and no caller sees an old one.
func TestIdentityChanges(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(none, "a")), begin(t, who(none, "b"))
	b.Handle(methodEcho, func(_ context.Context, peer Peer, _ []byte) ([]byte, error) {
		return []byte(peer.Cluster.String()), nil
	})
	for i, step := range []struct{ a, b uuid.UUID }{{none, none}, {clusterA, none}, {clusterA, clusterA}, {none, clusterA}, {none, clusterB}} {
		for n, cluster := range map[*node]uuid.UUID{a: step.a, b: step.b} {
			identity := *n.identity.Load()
			identity.Cluster = cluster
			n.identity.Store(&identity)
		}
		for range 2 {
			reply, peer, err := a.Call(t.Context(), b.target(), methodEcho, nil)
			if err != nil || string(reply) != step.a.String() || peer.Cluster != step.b {
				t.Errorf("step %d: b sees cluster %q, a sees cluster %q: %v", i, reply, peer.Cluster, err)
			}
		}
		eventually(t, "one connection", func() bool { return len(a.Links()) == 1 && len(b.Links()) == 1 })
	}
}
