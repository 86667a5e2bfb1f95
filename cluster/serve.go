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
	case MethodFormed:
		select {
		case c.kick <- struct{}{}:
		default:
		}
		return nil, nil
	case MethodJoin:
		return c.answerJoin(ctx, from, payload)
	case MethodPropose:
		return c.answerProposal(payload)
	case MethodAwaitTopology:
		return c.answerAwaitTopology(ctx, payload)
	}
	return nil, fmt.Errorf("unknown request %d", m)
}

// stepTime is how long a node may take to hear of what was decided; a leader tells it again and again.
const stepTime = 500 * time.Millisecond

// AwaitTopology asks a node to answer when it routes by the topology of an index, or by a later one.
func (c *Cluster) AwaitTopology(ctx context.Context, node topology.NodeID, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	_, err := c.ask(ctx, node, MethodAwaitTopology, binary.BigEndian.AppendUint64(nil, index))
	return err
}

// answerAwaitTopology serves MethodAwaitTopology.
func (c *Cluster) answerAwaitTopology(ctx context.Context, payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, fmt.Errorf("an index has 8 bytes, not %d", len(payload))
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	return nil, c.host.AwaitTopology(ctx, binary.BigEndian.Uint64(payload))
}
