package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// ServeStream accepts a stream that another node has opened for raft.
func (c *Cluster) ServeStream(conn net.Conn) {
	if c.consensus.Load() == nil {
		conn.Close() // the other node dials again
		return
	}
	c.streams.serve(conn)
}

// ServeCall answers a request of another node.
func (c *Cluster) ServeCall(ctx context.Context, from Caller, m Method, payload []byte) ([]byte, error) {
	reply, err := serveCall(c, ctx, from, m, payload)
	return reply, remoteText(err)
}

func serveCall(c *Cluster, ctx context.Context, from Caller, m Method, payload []byte) ([]byte, error) {
	if from.Cluster == "" && (m == MethodPropose || m == MethodReport || m == MethodTransfer || m == MethodLoad) {
		return nil, fmt.Errorf("node %s belongs to no cluster", from.Node)
	}
	switch m {
	case MethodProbe:
		return nil, nil
	case MethodClaim:
		return c.bootstrapper.answerClaim(from, payload)
	case MethodFormed:
		c.startup.notifyFormed()
		return nil, nil
	case MethodJoin:
		return c.admitter.answer(ctx, from, payload)
	case MethodPropose:
		return c.proposer.answer(ctx, payload)
	case MethodReport:
		return nil, c.reporter.answer(from, payload)
	case MethodAwaitTopology:
		return answerAwaitTopology(ctx, c.host, payload)
	case MethodTransfer:
		return answerTransfer(ctx, c.host, from, payload)
	case MethodLoad:
		return answerLoad(c.host)
	}
	return nil, fmt.Errorf("unknown request %d", m)
}

// awaitTopologyTimeout bounds how long a node waits for another one to route by a topology.
const awaitTopologyTimeout = 2 * time.Second

// AwaitTopology returns when another node routes by the topology of an index or a later one.
func (c *Cluster) AwaitTopology(ctx context.Context, node topology.NodeID, index uint64) error {
	return c.peers.awaitTopology(ctx, node, index)
}

func (p *peers) awaitTopology(ctx context.Context, node topology.NodeID, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTopologyTimeout)
	defer cancel()
	_, err := p.call(ctx, node, MethodAwaitTopology, binary.BigEndian.AppendUint64(nil, index))
	return err
}

func answerAwaitTopology(ctx context.Context, host Host, payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, fmt.Errorf("an index has 8 bytes, not %d", len(payload))
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTopologyTimeout)
	defer cancel()
	return nil, host.AwaitTopology(ctx, binary.BigEndian.Uint64(payload))
}
