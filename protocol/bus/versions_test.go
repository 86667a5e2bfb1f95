package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

func speaks(lowest, highest uint8) func(*Options) {
	return func(o *Options) { o.versions = versions{lowest, highest} }
}

// Nodes that have a version in common work together in the highest one, whichever dials, and handlers learn it.
func TestNodesOfTwoVersions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ a, b, agreed versions }{
		{a: versions{1, 2}, b: versions{1, 1}, agreed: versions{1, 1}},
		{a: versions{1, 2}, b: versions{1, 2}, agreed: versions{2, 2}},
		{a: versions{2, 3}, b: versions{1, 2}, agreed: versions{2, 2}},
		{a: versions{1, 1}, b: versions{1, 9}, agreed: versions{1, 1}},
	} {
		t.Run(fmt.Sprint(tc.a, tc.b), func(t *testing.T) {
			t.Parallel()
			a := begin(t, who(clusterA, "a"), speaks(tc.a.min, tc.a.max))
			b := begin(t, who(clusterA, "b"), speaks(tc.b.min, tc.b.max))
			want := tc.agreed.max
			for _, pair := range [][2]*node{{a, b}, {b, a}} {
				from, to := pair[0], pair[1]
				to.Handle(methodEcho, func(_ context.Context, peer Peer, request []byte) ([]byte, error) {
					return append(request, '0'+peer.Version), nil
				})
				to.HandleStream(KindAppend, func(peer Peer, conn net.Conn) {
					defer conn.Close()
					conn.Write([]byte{peer.Version})
					io.Copy(conn, conn)
				})
				if reply, err := from.call(to.target(), methodEcho, "version "); err != nil || reply != fmt.Sprint("version ", want) {
					t.Errorf("a call: %q, %v", reply, err)
				}
				conn, peer, err := from.Dial(t.Context(), to.target(), KindAppend)
				if err != nil {
					t.Fatal(err)
				}
				var got [5]byte
				conn.Write([]byte("data"))
				if _, err := io.ReadFull(conn, got[:]); err != nil || got[0] != want || string(got[1:]) != "data" || peer.Version != want {
					t.Errorf("a stream: %q, %v, version %d", got, err, peer.Version)
				}
				conn.Close()
			}
		})
	}
}

// Nodes without a common version do not connect, whichever dials, and the logs of both say what each speaks.
func TestNodesWithoutACommonVersion(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ a, b versions }{{versions{2, 2}, versions{1, 1}}, {versions{1, 1}, versions{2, 2}}, {versions{1, 3}, versions{4, 9}}} {
		t.Run(fmt.Sprint(tc.a, tc.b), func(t *testing.T) {
			t.Parallel()
			a := begin(t, who(clusterA, "a"), speaks(tc.a.min, tc.a.max))
			b := begin(t, who(clusterA, "b"), speaks(tc.b.min, tc.b.max))
			b.Handle(methodEcho, echo)
			_, err := a.call(b.target(), methodEcho, "")
			if !errors.Is(err, ErrVersion) || !errors.Is(err, ErrUnreachable) {
				t.Fatal(err)
			}
			for what, side := range map[string]struct {
				log        <-chan error
				own, other versions
			}{"the dialling side": {a.refused, tc.a, tc.b}, "the accepting side": {b.refused, tc.b, tc.a}} {
				logged := receive(t, what+" logs it", side.log)
				want := fmt.Sprintf("the peer speaks versions %d to %d, this node %d to %d", side.other.min, side.other.max, side.own.min, side.own.max)
				if text := logged.Error(); !errors.Is(logged, ErrVersion) || !strings.Contains(text, "no common protocol version: "+want) || strings.Count(text, "speaks") != 1 {
					t.Errorf("%s logs %q, want %q", what, text, want)
				}
			}
			if len(a.Links())+len(b.Links()) > 0 {
				t.Error("links are left")
			}
		})
	}
}

// A node that is refused for its version tries again and again, which must not fill its log.
func TestALogNamesAnotherVersionOnce(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a"), speaks(2, 2)), begin(t, who(clusterA, "b"))
	for range 20 {
		if _, _, err := a.Dial(t.Context(), b.target(), KindRaft); !errors.Is(err, ErrVersion) {
			t.Fatal(err)
		}
	}
	if len(a.refused) != 1 {
		t.Errorf("%d lines", len(a.refused))
	}
}
