package bus

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
)

// Method numbers the requests on control connections. The callers and handlers of the bus agree on the numbers.
type Method uint8

// Handler answers a request. It runs concurrently with other handlers of the same connection. Its
// context ends when the caller's deadline passes, the caller gives up, the connection ends or the Bus
// closes; the handler must then return. It owns the bytes of the request. An error that does not wrap
// a *RemoteError reaches the caller as one with CodeFailed.
type Handler func(ctx context.Context, peer Peer, request []byte) (reply []byte, err error)

// StreamHandler receives a connection and owns it from then on, even after it returns.
type StreamHandler func(peer Peer, conn net.Conn)

// Bus is one node's end of all its connections with other nodes.
type Bus struct {
	core     *core
	acceptor *acceptor
	dialer   *dialer
}

// core is what the accepting and the dialling side share.
type core struct {
	options Options
	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	running sync.WaitGroup // all goroutines of the Bus
	links   registry
	limiter logLimiter // of log lines about refused connections
}

// New returns a Bus that neither listens nor connects yet.
func New(options Options) *Bus {
	options = options.withDefaults()
	c := &core{options: options, links: newRegistry(options.MaxLinks, options.MaxGuests)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return &Bus{core: c, acceptor: newAcceptor(c), dialer: newDialer(c)}
}

// Handle registers the handler of a method. It panics if the method has one.
func (b *Bus) Handle(method Method, handler Handler) { b.acceptor.handle(method, handler) }

// HandleStream registers the handler of a kind. Connections of a kind without a handler are refused
// with ErrNotReady. It panics if the kind has a handler, and for KindControl.
func (b *Bus) HandleStream(kind Kind, handler StreamHandler) { b.acceptor.handleStream(kind, handler) }

// Serve accepts connections on l until Close. It returns at once.
func (b *Bus) Serve(l net.Listener) error { return b.acceptor.serve(l) }

// Dial opens a connection of a kind. The caller owns it, but Close closes it too. The error wraps
// ErrUnreachable; if the handshake failed, it is a *HandshakeError.
func (b *Bus) Dial(ctx context.Context, target Target, kind Kind) (net.Conn, Peer, error) {
	l, err := b.dialer.dial(ctx, target, kind)
	if err != nil {
		return nil, Peer{}, err
	}
	return l, l.peer, nil
}

// Call sends a request to a node and returns its reply and the node that gave it. The remote handler
// has as long as ctx leaves, or CallTimeout if ctx has no deadline. The caller may change the payload
// once Call has returned.
//
// An error is a *RemoteError if the handler returned one. Otherwise it wraps ErrUnreachable if the
// request had no effect, or ErrUncertain if that is unknown. If ctx ended the call, the error also
// wraps the error of ctx.
func (b *Bus) Call(ctx context.Context, target Target, method Method, payload []byte) ([]byte, Peer, error) {
	return b.dialer.call(ctx, target, method, payload)
}

// Links describes the connections whose handshake is done, oldest first.
func (b *Bus) Links() []Link { return b.core.links.list() }

// Renew makes new calls use new connections. It is for a machine whose address has changed:
// connections from the old address are dead, but nothing reports that. Calls in flight keep their connections.
func (b *Bus) Renew() { b.dialer.renew() }

// Disconnect closes the connections with the nodes that drop names, and returns how many they are.
func (b *Bus) Disconnect(drop func(Peer) bool) int { return b.core.links.closeTo(drop) }

// Close closes every connection, including those that Dial returned or a StreamHandler received, and
// ends every goroutine. It waits for handlers. Calls in flight fail with ErrUncertain, later ones with ErrUnreachable.
func (b *Bus) Close() error {
	b.core.cancel()
	err := b.acceptor.close()
	b.dialer.close()
	b.core.links.close()
	b.core.running.Wait()
	return err
}

func (c *core) logPanic(where string, peer Peer, reason any) {
	c.options.Log.Error("panic on the bus", "in", where, "from", peer.Address, "node", string(peer.Node), "panic", reason, "stack", string(debug.Stack()))
}

// handlerOf is how log lines and errors name the handler of a method.
func handlerOf(method Method) string { return fmt.Sprintf("the handler of method %d", method) }
