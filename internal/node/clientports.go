package node

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/certs"
	"github.com/ndring/ndring/internal/follow"
	"github.com/ndring/ndring/protocol"
)

// clientPorts are the open sockets of the client listeners.
type clientPorts struct {
	listeners []ListenerConfig
	certs     *certs.Store   // nil: no listener speaks TLS
	tls       []*tls.Config  // of the listeners; nil for those without TLS
	sockets   []net.Listener // one per listener
	addrs     []net.Addr     // of the sockets
}

// openClientPorts opens the sockets. Clients can connect then, and wait in the system's queue until serve accepts them.
func openClientPorts(ctx context.Context, config *Config, listen func(context.Context, string) (net.Listener, error), log *slog.Logger) (p *clientPorts, err error) {
	p = &clientPorts{listeners: config.Listen}
	if p.certs, p.tls, err = openClientTLS(config, log); err != nil {
		return nil, err
	}
	for _, l := range config.Listen {
		socket, err := listen(ctx, l.Address)
		if err != nil {
			return nil, errors.Join(cannotListen("clients", l.flag(config), err), p.close())
		}
		p.sockets = append(p.sockets, socket)
		p.addrs = append(p.addrs, socket.Addr())
	}
	return p, nil
}

// holdTime is how long clients wait in the system's queue while the node starts.
const holdTime = 3 * time.Second

// serve accepts clients once the node can answer them. A node that waits only for itself is ready in a moment, so its
// clients wait in the system's queue, which is cheaper for them than an error. A node that waits for others says so.
func (p *clientPorts) serve(ctx context.Context, server *protocol.Server, c *clientCluster) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(holdTime); c.Status().Starting && !allServed(c.Topology()) && time.Now().Before(limit) && ctx.Err() == nil; {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	for i, l := range p.listeners {
		if err := server.Serve(protocol.Listener{Listener: p.sockets[i], Name: l.Name, TLS: p.tls[i]}); err != nil { // the node is stopping
			p.sockets[i].Close()
		}
	}
}

// watch follows the files of the certificate until ctx is done.
func (p *clientPorts) watch(ctx context.Context) {
	if p.certs != nil {
		p.certs.Watch(ctx, follow.Interval)
	}
}

func (p *clientPorts) close() (err error) {
	for _, s := range p.sockets {
		err = errors.Join(err, s.Close())
	}
	return err
}

// allServed reports whether each shard has a primary.
func allServed(t *topology.Topology) bool {
	return len(t.Shards) > 0 && !slices.ContainsFunc(t.Shards, func(s topology.Shard) bool { return s.Primary == "" })
}
