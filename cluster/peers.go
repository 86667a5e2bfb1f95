package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// peers resolves, names and calls other nodes by what gossip and the address book know about them.
type peers struct {
	self    *localNode
	members *members
	book    *addressBook
	bus     Bus
}

// resolve returns the address of a node's bus and whether gossip sees the node alive.
func (p *peers) resolve(id topology.NodeID) (address string, alive bool) {
	if i, ok := p.members.get(id); ok {
		return i.bus, i.alive
	}
	e, _ := p.book.get(id)
	return e.Bus, false
}

func (p *peers) target(id topology.NodeID) (Target, error) {
	address, _ := p.resolve(id)
	if address == "" {
		return Target{}, errNoAddress(id)
	}
	return Target{Address: address, Node: id}, nil
}

func errNoAddress(id topology.NodeID) error { return fmt.Errorf("no address is known for node %s", id) }

// name returns a node's name and id as messages show them.
func (p *peers) name(id topology.NodeID) string {
	if id == p.self.ID {
		return p.self.label()
	}
	if i, ok := p.members.get(id); ok {
		return topology.Label(i.name, id)
	}
	if e, ok := p.book.get(id); ok {
		return topology.Label(e.Name, id)
	}
	return topology.Label("", id)
}

// seesServer reports whether gossip sees a node alive with the store of a raft server.
func (p *peers) seesServer(node topology.NodeID, store string) bool {
	if node == p.self.ID {
		return store == p.self.Store
	}
	i, known := p.members.get(node)
	return known && i.alive && i.store == store
}

// uncertainText is how ErrUncertain travels between nodes. It is fixed, because earlier versions
// compare the whole text, and take any other one for a proposal that has failed.
const uncertainText = "whether it was decided is not known"

// remoteText returns an error as the other node gets it.
func remoteText(err error) error {
	if errors.Is(err, ErrUncertain) {
		return errors.New(uncertainText)
	}
	return err
}

// call sends a request to a node. The error is ErrUncertain unless the request is known to have failed.
func (p *peers) call(ctx context.Context, node topology.NodeID, m Method, payload []byte) ([]byte, error) {
	to, err := p.target(node)
	if err != nil {
		return nil, err
	}
	reply, err := p.bus.Call(ctx, to, m, payload)
	var remote *RemoteError
	switch {
	case err == nil:
		return reply, nil
	case errors.As(err, &remote) && remote.Text == uncertainText:
		return nil, ErrUncertain
	case errors.As(err, &remote), errors.Is(err, ErrNotSent):
		return nil, err
	default:
		return nil, fmt.Errorf("%w: %s: %w", ErrUncertain, p.name(node), err)
	}
}

// callServer sends a request to a node with a certain store, named by its server id.
func (p *peers) callServer(ctx context.Context, server string, m Method, payload []byte) ([]byte, error) {
	node, store, err := parseServerID(server)
	if err != nil {
		return nil, err
	}
	to, err := p.target(node)
	if err != nil {
		return nil, err
	}
	to.Store = store
	return p.bus.Call(ctx, to, m, payload)
}

// probe asks who is at an address, within a limit.
func (p *peers) probe(ctx context.Context, address string, limit time.Duration) (Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return p.bus.Probe(ctx, address)
}

// probeTimeout bounds a probe. The controller, which waits for the answers, uses a shorter limit.
const probeTimeout = time.Second

// runs asks whether the incarnation of a node that a topology row names still runs at its address.
func (p *peers) runs(ctx context.Context, row topology.Node) bool {
	caller, err := p.probe(ctx, busAddress(row), probeTimeout)
	return err == nil && caller.Node == row.ID && caller.Incarnation == row.Incarnation
}

// busAddress returns where the incarnation that a topology row names was reached.
func busAddress(row topology.Node) string {
	return net.JoinHostPort(row.BusHost, strconv.Itoa(row.BusPort))
}
