package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// ServeStream takes a stream that another node has opened for raft.
func (c *Cluster) ServeStream(conn net.Conn) {
	if c.agreement.Load() == nil {
		conn.Close() // it comes again
		return
	}
	c.streams.serve(conn)
}

// ServeCall answers a request of another node.
func (c *Cluster) ServeCall(ctx context.Context, from Caller, m Method, payload []byte) ([]byte, error) {
	if from.Cluster == "" && m == MethodPropose {
		return nil, fmt.Errorf("node %s is of no cluster", from.Node)
	}
	switch m {
	case MethodProbe:
		return nil, nil
	case MethodClaim:
		return c.answerClaim(from, payload)
	case MethodMade:
		select {
		case c.kick <- struct{}{}:
		default:
		}
		return nil, nil
	case MethodJoin:
		return c.answerJoin(ctx, from, payload)
	case MethodPropose:
		return c.answerProposal(payload)
	case MethodInStep:
		return c.answerInStep(ctx, payload)
	}
	return nil, fmt.Errorf("unknown request %d", m)
}

// stepTime is how long a node may take to hear of what was decided; a leader tells it again and again.
const stepTime = 500 * time.Millisecond

// InStep asks a node to answer when it routes by the topology of an index, or by a later one.
func (c *Cluster) InStep(ctx context.Context, node topology.NodeID, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	_, err := c.ask(ctx, node, MethodInStep, binary.BigEndian.AppendUint64(nil, index))
	return err
}

// answerInStep serves MethodInStep.
func (c *Cluster) answerInStep(ctx context.Context, payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, fmt.Errorf("an index has 8 bytes, not %d", len(payload))
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	return nil, c.host.InStep(ctx, binary.BigEndian.Uint64(payload))
}
