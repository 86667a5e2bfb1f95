package bus

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// One member cannot take the connections of the others, and not those of its own other kinds.
func TestOnePeerDoesNotTakeAllLinks(t *testing.T) {
	t.Parallel()
	greedy, modest, b := begin(t, who(clusterA, "greedy")), begin(t, who(clusterA, "modest")), begin(t, who(clusterA, "b"))
	for _, kind := range []Kind{KindRaft, KindBulk} {
		b.HandleStream(kind, func(_ Peer, conn net.Conn) { io.Copy(io.Discard, conn); conn.Close() })
	}
	b.Handle(methodEcho, echo)
	dial := func(n *node, kind Kind) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), testPatience)
		defer cancel()
		conn, _, err := n.Dial(ctx, b.target(), kind)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return conn, err
	}
	var last net.Conn
	for i := range maxPeerLinks {
		var err error
		if last, err = dial(greedy, KindRaft); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if _, err := dial(greedy, KindRaft); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	if _, err := dial(greedy, KindBulk); err != nil {
		t.Errorf("of another kind: %v", err)
	}
	if _, err := dial(modest, KindRaft); err != nil {
		t.Errorf("of another node: %v", err)
	}
	if _, err := greedy.call(b.target(), methodEcho, "x"); err != nil {
		t.Errorf("a request: %v", err)
	}
	last.Close()
	eventually(t, "room for another one", func() bool { _, err := dial(greedy, KindRaft); return err == nil })
}
