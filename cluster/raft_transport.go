package cluster

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/hashicorp/raft"
)

// transport is raft's network transport over streamLayer. It can also make this node start an
// election at once, as a leader does that transfers its leadership.
//
// Each request carries the recovery (OpenRecovery) at which the sender's topology began. The
// transport rejects a sender with an earlier one, and tells it nothing. Otherwise a majority that
// comes back after a recovery would outvote the recovered cluster without ever being able to
// replicate its log to it. This way its nodes join the recovered cluster.
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
				if t.accepts(rpc) {
					t.deliver(rpc)
				}
			case <-t.ended:
				return
			}
		}
	})
	return t
}

func (t *transport) deliver(rpc raft.RPC) {
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
		if t.accepts(rpc) {
			handle(rpc)
		}
	})
}

var errBeforeRecovery = errors.New("the cluster was recovered, which this node has not learned yet")

// accepts reports whether raft handles a request. A rejected one is answered here.
func (t *transport) accepts(rpc raft.RPC) bool {
	request, ok := rpc.Command.(raft.WithRPCHeader)
	if !ok {
		return true
	}
	if _, recovery := cutRecovery(request.GetRPCHeader().Addr); recovery >= t.recovery() {
		return true
	}
	if rpc.Reader != nil {
		io.Copy(io.Discard, rpc.Reader) // the next request follows on the stream; after an error that one fails too
	}
	rpc.Respond(nil, errBeforeRecovery)
	return false
}

const recoveryMark = "#"

// EncodePeer implements raft.Transport: the address, then the recovery if there was one.
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

// cutRecovery splits what EncodePeer writes.
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

// elect makes this node a candidate at once.
func (t *transport) elect() {
	t.done.Go(func() {
		t.deliver(raft.RPC{
			Command:  &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, // without a sender
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
