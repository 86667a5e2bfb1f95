package cluster

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/hashicorp/raft"
)

// transport is raft's own, over streams, with a way to tell this node to stand for election now, as a leader that gives up its lead tells another one.
//
// Each request says with which recovery of the cluster (OpenRecovery) the sender's topology began. One whose topology began before this node's is not heard, and
// is told nothing: a majority that was taken for lost and comes back would otherwise outvote the recovered cluster, without ever being able to give it its log.
// It becomes part of that cluster instead.
type transport struct {
	*raft.NetworkTransport
	recovery func() uint64 // of this node's topology
	rpcs     chan raft.RPC
	ended    chan struct{}
	close    sync.Once
	closed   error
	done     sync.WaitGroup
}

func newTransport(config *raft.NetworkTransportConfig, recovery func() uint64) *transport {
	t := &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(config), recovery: recovery, rpcs: make(chan raft.RPC), ended: make(chan struct{})}
	t.done.Go(func() {
		for {
			select {
			case rpc := <-t.NetworkTransport.Consumer():
				if t.heeds(rpc) {
					t.hand(rpc)
				}
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

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if t.heeds(rpc) {
			handle(rpc)
		}
	})
}

var errBeforeRecovery = errors.New("the cluster was recovered, without this node's knowing")

// heeds reports whether this node hears a request; else it has answered it.
func (t *transport) heeds(rpc raft.RPC) bool {
	request, ok := rpc.Command.(raft.WithRPCHeader)
	if !ok {
		return true
	}
	if _, recovery := cutRecovery(request.GetRPCHeader().Addr); recovery >= t.recovery() {
		return true
	}
	if rpc.Reader != nil {
		io.Copy(io.Discard, rpc.Reader) // behind it is the next request; if it breaks, that cannot be read either
	}
	rpc.Respond(nil, errBeforeRecovery)
	return false
}

const recoveryMark = "#"

// EncodePeer implements raft.Transport: the address, and the recovery if there was one.
func (t *transport) EncodePeer(id raft.ServerID, address raft.ServerAddress) []byte {
	b := t.NetworkTransport.EncodePeer(id, address)
	if recovery := t.recovery(); recovery > 0 {
		b = strconv.AppendUint(append(b, recoveryMark...), recovery, 10)
	}
	return b
}

// DecodePeer implements raft.Transport.
func (t *transport) DecodePeer(b []byte) raft.ServerAddress {
	address, _ := cutRecovery(b)
	return raft.ServerAddress(address)
}

// cutRecovery parts what EncodePeer has put together.
func cutRecovery(b []byte) (address []byte, recovery uint64) {
	address, mark, marked := bytes.Cut(b, []byte(recoveryMark))
	if !marked {
		return address, 0
	}
	recovery, err := strconv.ParseUint(string(mark), 10, 64)
	if err != nil {
		return address, 0
	}
	return address, recovery
}

// elect makes the node a candidate at once.
func (t *transport) elect() {
	t.done.Go(func() {
		t.hand(raft.RPC{
			Command:  &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, // from nobody
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
