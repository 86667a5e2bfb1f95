package bus

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testPatience is how long a test waits for an event.
const testPatience = 20 * time.Second

var (
	clusterA = uuid.UUID{0xaa, 1}
	clusterB = uuid.UUID{0xbb, 2}
	none     uuid.UUID
)

// node is a Bus under test.
type node struct {
	*Bus
	t        *testing.T
	address  string
	identity atomic.Pointer[Identity]
	refused  chan error // errors that it logged about handshakes
}

func who(cluster uuid.UUID, name string) Identity {
	return Identity{Cluster: cluster, Node: topology.NodeID(name), Store: uuid.UUID{name[0], 7}, Incarnation: 1}
}

// begin starts a node on a free port.
func begin(t *testing.T, identity Identity, change ...func(*Options)) *node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return beginOn(t, l, identity, change...)
}

func beginOn(t *testing.T, l net.Listener, identity Identity, change ...func(*Options)) *node {
	t.Helper()
	n := &node{t: t, address: l.Addr().String(), refused: make(chan error, 1000)}
	n.identity.Store(&identity)
	options := Options{Identity: func() Identity { return *n.identity.Load() }, Log: slog.New(errorsOf{n.refused})}
	for _, c := range change {
		c(&options)
	}
	n.Bus = New(options)
	if err := n.Serve(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *node) target() Target { return Target{Address: n.address} }

func (n *node) call(to Target, method Method, payload string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	defer cancel()
	reply, _, err := n.Call(ctx, to, method, []byte(payload))
	return string(reply), err
}

// echo replies with the request.
func echo(_ context.Context, _ Peer, request []byte) ([]byte, error) { return request, nil }

// errorsOf is a log handler that sends logged errors to a channel.
type errorsOf struct{ to chan error }

func (errorsOf) Enabled(context.Context, slog.Level) bool { return true }
func (h errorsOf) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h errorsOf) WithGroup(string) slog.Handler          { return h }
func (h errorsOf) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			select {
			case h.to <- err:
			default:
			}
		}
		return true
	})
	return nil
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(testPatience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(testPatience):
		t.Fatalf("never: %s", what)
		panic("not reached")
	}
}
