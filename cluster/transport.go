package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// transport is raft's own, over streams, with a way to tell this node to stand for election now, as a leader that gives up its lead tells another one.
type transport struct {
	*raft.NetworkTransport
	rpcs   chan raft.RPC
	ended  chan struct{}
	close  sync.Once
	closed error
	done   sync.WaitGroup
}

func newTransport(config *raft.NetworkTransportConfig) *transport {
	t := &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(config), rpcs: make(chan raft.RPC), ended: make(chan struct{})}
	t.done.Go(func() {
		for {
			select {
			case rpc := <-t.NetworkTransport.Consumer():
				t.hand(rpc)
			case <-t.ended:
				return
			}
		}
	})
	return t
}

func (t *transport) hand(rpc raft.RPC) {
	select {
	case t.rpcs <- rpc:
	case <-t.ended:
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// elect makes the node a candidate at once.
func (t *transport) elect() {
	t.done.Go(func() {
		t.hand(raft.RPC{
			Command:  &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}},
			RespChan: make(chan raft.RPCResponse, 1),
		})
	})
}

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.close.Do(func() {
		close(t.ended)
		t.done.Wait()
		t.closed = t.NetworkTransport.Close()
	})
	return t.closed
}
