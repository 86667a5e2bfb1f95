package cluster

import (
	"context"
	"fmt"
	"net"
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
	}
	return nil, fmt.Errorf("unknown request %d", m)
}
