package bus

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/uuid"
)

// The bytes of the three messages, which docs and other versions rely on.
func TestGoldenHandshake(t *testing.T) {
	t.Parallel()
	identity := Identity{Cluster: uuid.UUID{0xaa, 15: 0x01}, Node: "0123456789012345678901234567890123456789", Store: uuid.UUID{0xbb, 15: 0x02}, Incarnation: 0x0102030405060708}
	const encoded = ` aa000000000000000000000000000001
		30313233343536373839303132333435363738393031323334353637383930313233343536373839
		bb000000000000000000000000000002 0807060504030201 `
	for _, tc := range []struct {
		name   string
		g      greeting
		golden string
	}{
		{
			"HELLO", greeting{message: hello, min: 1, max: 1, kind: KindRaft, Identity: identity, wanted: Target{Node: "b", Store: uuid.UUID{0xcc}}},
			"4e445242 01 01 01 02 8c00 0000" + encoded +
				"62" + strings.Repeat("00", 39) + " cc000000000000000000000000000000 1757a6a7",
		},
		{"WELCOME", greeting{message: welcome, min: 1, max: 1, kind: KindControl, Identity: identity}, "4e445242 02 01 01 01 5400 0000" + encoded + "ac47d60a"},
		{"REFUSE", greeting{message: refuse, min: 1, max: 3, code: 5, Identity: identity, detail: "later"}, "4e445242 03 01 03 05 5900 0000" + encoded + "6c61746572 e06b05f0"},
	} {
		got, err := tc.g.append(nil)
		if want := unhex(t, tc.golden); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%x\n%x", tc.name, err, got, want)
		}
		stream := bytes.NewReader(append(got, "what follows"...))
		if back, err := readGreeting(stream); err != nil || back != tc.g {
			t.Errorf("%s back: %+v, %v", tc.name, back, err)
		}
		if rest, _ := io.ReadAll(stream); string(rest) != "what follows" {
			t.Errorf("%s: %q is left", tc.name, rest)
		}
	}
}

func TestDamagedGreetings(t *testing.T) {
	t.Parallel()
	first := greeting{message: hello, min: 1, max: 1, kind: KindControl, Identity: who(clusterA, "a")}
	good, err := first.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x41
		if _, err := readGreeting(bytes.NewReader(bad)); !errors.Is(err, ErrNoBus) && err != io.ErrUnexpectedEOF {
			t.Errorf("byte %d: %v", i, err)
		}
		if _, err := readGreeting(bytes.NewReader(good[:i])); err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes of it: %v", i, err)
		}
	}
	for _, id := range []string{"a b", "a\n", "ü", strings.Repeat("a", maxNode+1)} {
		g := greeting{message: hello, min: 1, max: 1, Identity: who(clusterA, id)}
		if _, err := g.append(nil); err == nil {
			t.Errorf("node id %q was sent", id)
		}
	}
}

// Both sides report each refusal with the same sentinel and both identities.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		a, b       Identity // a dials b
		kind       Kind
		wanted     Target
		full       func(*Options) // of b, which another node like a then fills
		want       error
		byDialling bool // a refuses without asking b
	}{
		{name: "members", a: who(clusterA, "a"), b: who(clusterA, "b"), kind: KindRaft},
		{name: "the wanted node", a: who(clusterA, "a"), b: who(clusterA, "b"), kind: KindControl, wanted: Target{Node: "b", Store: uuid.UUID{'b', 7}}},
		{name: "neither in a cluster", a: who(none, "a"), b: who(none, "b"), kind: KindControl},
		{name: "joining node dials", a: who(none, "a"), b: who(clusterB, "b"), kind: KindControl},
		{name: "member dials", a: who(clusterA, "a"), b: who(none, "b"), kind: KindControl},
		{name: "no identity", a: Identity{}, b: Identity{}, kind: KindControl},
		{name: "other cluster", a: who(clusterA, "a"), b: who(clusterB, "b"), kind: KindControl, want: ErrOtherCluster},
		{name: "other cluster's raft", a: who(clusterA, "a"), b: who(clusterB, "b"), kind: KindRaft, want: ErrOtherCluster},
		{name: "other node", a: who(clusterA, "a"), b: who(clusterA, "b"), kind: KindRaft, wanted: Target{Node: "c"}, want: ErrOtherNode},
		{name: "other store", a: who(clusterA, "a"), b: who(clusterA, "b"), kind: KindRaft, wanted: Target{Node: "b", Store: uuid.UUID{1}}, want: ErrOtherStore},
		{name: "not yet in a cluster", a: who(clusterA, "a"), b: who(none, "b"), kind: KindRaft, want: ErrNotReady},
		{name: "dialling node not in a cluster", a: who(none, "a"), b: who(clusterA, "b"), kind: KindRaft, want: ErrNotReady, byDialling: true},
		{name: "no handler", a: who(clusterA, "a"), b: who(clusterA, "b"), kind: KindBulk, want: ErrNotReady},
		{name: "no such kind", a: who(clusterA, "a"), b: who(clusterA, "b"), kind: 99, want: ErrNotReady},
		{name: "full", a: who(clusterA, "a"), b: who(clusterA, "b"), kind: KindRaft, full: func(o *Options) { o.MaxLinks = 1 }, want: ErrBusy},
		{name: "full of guests", a: who(none, "a"), b: who(clusterA, "b"), kind: KindControl, full: func(o *Options) { o.MaxGuests = 1 }, want: ErrBusy},
		{name: "itself", a: who(clusterA, "a"), b: who(clusterA, "a"), kind: KindControl, wanted: Target{Node: "c"}, want: ErrSelf},
		{name: "itself, restarted", a: who(clusterA, "a"), b: Identity{Cluster: clusterA, Node: "a", Store: uuid.UUID{'a', 7}, Incarnation: 2}, kind: KindControl},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := begin(t, tc.a)
			b := begin(t, tc.b, func(o *Options) {
				if tc.full != nil {
					tc.full(o)
				}
			})
			b.HandleStream(KindRaft, func(_ Peer, conn net.Conn) { io.Copy(conn, conn); conn.Close() })
			tc.wanted.Address = b.address
			if tc.full != nil {
				if _, _, err := begin(t, tc.a).Dial(t.Context(), tc.wanted, tc.kind); err != nil {
					t.Fatal(err)
				}
			}
			conn, peer, err := a.Dial(t.Context(), tc.wanted, tc.kind)
			if tc.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				if peer.Identity != tc.b || peer.Address != b.address || peer.Version != maxVersion || peer.Guest() != tc.b.Cluster.IsZero() {
					t.Errorf("peer %+v", peer)
				}
				conn.Close()
				return
			}
			errs := []error{err}
			if !tc.byDialling {
				errs = append(errs, receive(t, "the error of the accepting side", b.refused))
			}
			for i, err := range errs {
				var told *HandshakeError
				if !errors.Is(err, tc.want) || !errors.Is(err, ErrUnreachable) || !errors.As(err, &told) {
					t.Fatalf("side %d: %v", i, err)
				}
				local, remote := tc.a, tc.b
				if i == 1 {
					local, remote = tc.b, tc.a
				}
				if tc.byDialling {
					remote = Identity{}
				}
				if told.Local != local || told.Remote != remote || told.Inbound != (i == 1) || told.ByPeer != (i == 0 && !tc.byDialling) {
					t.Errorf("side %d: %+v", i, told)
				}
				for _, part := range []string{told.Address, local.String(), remote.String()} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not name %q", err, part)
					}
				}
			}
			if tc.full == nil && len(b.Links()) > 0 || len(a.Links()) > 0 {
				t.Error("links are left")
			}
		})
	}
}

// The dialling side does not rely on the checks of the accepting side.
func TestWelcomeIsChecked(t *testing.T) {
	t.Parallel()
	good := greeting{message: welcome, min: 1, max: 1, kind: KindRaft, Identity: who(clusterA, "b")}
	with := func(change func(*greeting)) greeting {
		g := good
		change(&g)
		return g
	}
	for _, tc := range []struct {
		name  string
		reply greeting
		want  error
	}{
		{"good", good, nil},
		{"version", with(func(g *greeting) { g.min, g.max = 9, 9 }), ErrVersion},
		{"refused for its version", greeting{message: refuse, min: 7, max: 9, code: 1, Identity: who(clusterA, "b")}, ErrVersion},
		{"other cluster", with(func(g *greeting) { g.Cluster = clusterB }), ErrOtherCluster},
		{"no cluster", with(func(g *greeting) { g.Cluster = none }), ErrNotReady},
		{"other node", with(func(g *greeting) { g.Node = "x" }), ErrOtherNode},
		{"other store", with(func(g *greeting) { g.Store = none }), ErrOtherStore},
		{"itself", with(func(g *greeting) { g.Identity = who(clusterA, "a") }), ErrSelf},
		{"an unknown reason", greeting{message: refuse, code: 200, detail: "new\nreason"}, ErrRefused},
		{"a HELLO", with(func(g *greeting) { g.message = hello }), ErrNoBus},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := begin(t, who(clusterA, "a"))
			address := pretend(t, tc.reply, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			conn, _, err := a.Dial(t.Context(), Target{Address: address, Node: "b", Store: uuid.UUID{'b', 7}}, KindRaft)
			if err == nil {
				conn.Close()
			}
			if !errors.Is(err, tc.want) || err != nil && !errors.Is(err, ErrUnreachable) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has a line break", err)
			}
		})
	}
}

// pretend listens as a node that answers every HELLO with reply, and then calls then.
func pretend(t *testing.T, reply greeting, then func(net.Conn)) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		if _, err := readGreeting(conn); err != nil {
			t.Errorf("HELLO: %v", err)
			return
		}
		bytes, err := reply.append(nil)
		if err != nil {
			t.Error(err)
		}
		conn.Write(bytes)
		then(conn)
	})
}

// listen runs serve for each connection until the test ends, and waits for it.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			serve(conn)
			stop()
			conn.Close()
		}
	}()
	t.Cleanup(func() { cancel(); l.Close(); <-ended })
	return l.Addr().String()
}

func TestVersionsOfHello(t *testing.T) {
	t.Parallel()
	b := begin(t, who(clusterA, "b"))
	for _, tc := range []struct {
		min, max uint8
		want     message
	}{{1, 1, welcome}, {0, 200, welcome}, {2, 9, refuse}, {0, 0, refuse}, {9, 1, refuse}} {
		conn, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		first := greeting{message: hello, min: tc.min, max: tc.max, kind: KindControl, Identity: who(clusterA, "a")}
		bytes, _ := first.append(nil)
		conn.Write(bytes)
		reply, err := readGreeting(conn)
		conn.Close()
		if err != nil || reply.message != tc.want || reply.message == refuse && (reply.code != codeOf(ErrVersion) || reply.max != maxVersion) {
			t.Errorf("%d to %d: %+v, %v", tc.min, tc.max, reply, err)
		}
		if tc.want == refuse {
			if err := receive(t, "the error of the accepting side", b.refused); !errors.Is(err, ErrVersion) {
				t.Error(err)
			}
		}
	}
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	t.Run("no bus", func(t *testing.T) {
		t.Parallel()
		a := begin(t, who(clusterA, "a"))
		address := listen(t, func(conn net.Conn) { conn.Write([]byte("-ERR unknown command 'NDRB'\r\n")); io.Copy(io.Discard, conn) })
		if _, _, err := a.Dial(t.Context(), Target{Address: address}, KindRaft); !errors.Is(err, ErrNoBus) || !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	})
	t.Run("no listener", func(t *testing.T) {
		t.Parallel()
		a := begin(t, who(clusterA, "a"))
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if _, err := a.call(Target{Address: l.Addr().String()}, methodEcho, ""); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUncertain) {
			t.Error(err)
		}
	})
	t.Run("says nothing when dialled", func(t *testing.T) {
		t.Parallel()
		a := begin(t, who(clusterA, "a"), func(o *Options) { o.HandshakeTimeout = 20 * time.Millisecond })
		address := listen(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		if _, _, err := a.Dial(t.Context(), Target{Address: address}, KindRaft); !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	})
	t.Run("says nothing when dialled, and the caller gives up", func(t *testing.T) {
		t.Parallel()
		a := begin(t, who(clusterA, "a"))
		ctx, cancel := context.WithCancel(t.Context())
		address := listen(t, func(conn net.Conn) { cancel(); io.Copy(io.Discard, conn) })
		if _, _, err := a.Dial(ctx, Target{Address: address}, KindRaft); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("says nothing", func(t *testing.T) {
		t.Parallel()
		b := begin(t, who(clusterA, "b"), func(o *Options) { o.HandshakeTimeout = 20 * time.Millisecond })
		conn := stranger(t, b)
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
	})
	t.Run("speaks another protocol", func(t *testing.T) {
		t.Parallel()
		b := begin(t, who(clusterA, "b"))
		conn := stranger(t, b)
		conn.Write([]byte("GET / HTTP/1."))
		if err := receive(t, "the error of the accepting side", b.refused); !errors.Is(err, ErrNoBus) {
			t.Error(err)
		}
	})
	t.Run("many that say nothing", func(t *testing.T) {
		t.Parallel()
		a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"), func(o *Options) { o.MaxHandshakes, o.HandshakeTimeout = 3, time.Hour })
		b.Handle(methodEcho, echo)
		var strangers []net.Conn
		for range 10 {
			strangers = append(strangers, stranger(t, b))
		}
		for _, conn := range strangers[:7] { // the oldest are closed
			if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%d bytes, %v", n, err)
			}
		}
		if got, err := a.call(b.target(), methodEcho, "let me in"); err != nil || got != "let me in" {
			t.Error(got, err)
		}
	})
}

func stranger(t *testing.T, b *node) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testPatience))
	return conn
}
