package node

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/protocol/bus"
)

// maxBusPayload is more than any request or reply of package cluster has.
const maxBusPayload = 17 << 20

// link is the bus as package cluster sees it. It implements cluster.Bus.
type link struct{ *bus.Bus }

// serve passes the streams and requests of other nodes to c.
func (l link) serve(c *cluster.Cluster) {
	l.HandleStream(bus.KindRaft, func(_ bus.Peer, conn net.Conn) { c.ServeStream(conn) })
	for _, m := range cluster.Methods {
		l.Handle(bus.Method(m), func(ctx context.Context, peer bus.Peer, request []byte) ([]byte, error) {
			return c.ServeCall(ctx, caller(peer), m, request)
		})
	}
}

func caller(p bus.Peer) cluster.Caller {
	return cluster.Caller{Node: p.Node, Store: p.Store.String(), Incarnation: p.Incarnation, Cluster: p.Cluster.String()}
}

func target(t cluster.Target) (bus.Target, error) {
	store, err := uuid.ParseOptional(t.Store)
	return bus.Target{Address: t.Address, Node: t.Node, Store: store}, err
}

// Dial implements cluster.Bus.
func (l link) Dial(ctx context.Context, to cluster.Target) (net.Conn, error) {
	t, err := target(to)
	if err != nil {
		return nil, err
	}
	conn, _, err := l.Bus.Dial(ctx, t, bus.KindRaft)
	return conn, err
}

// Call implements cluster.Bus.
func (l link) Call(ctx context.Context, to cluster.Target, m cluster.Method, payload []byte) ([]byte, error) {
	t, err := target(to)
	if err != nil {
		return nil, err
	}
	reply, _, err := l.Bus.Call(ctx, t, bus.Method(m), payload)
	var remote *bus.RemoteError
	switch {
	case errors.As(err, &remote):
		return nil, &cluster.RemoteError{Text: remote.Text}
	case errors.Is(err, bus.ErrUnreachable):
		return nil, fmt.Errorf("%w: %w", cluster.ErrNotSent, err)
	}
	return reply, err
}

// Probe implements cluster.Bus.
func (l link) Probe(ctx context.Context, address string) (cluster.Caller, error) {
	_, peer, err := l.Bus.Call(ctx, bus.Target{Address: address}, bus.Method(cluster.MethodProbe), nil)
	return caller(peer), err
}
