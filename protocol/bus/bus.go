package bus

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// Method numbers the requests on control connections. Those who use the bus agree on the numbers.
type Method uint8

// Handler answers a request. It may run beside others of the same connection. Its context ends with the caller's time or interest, with the connection and with the
// Bus, and the handler has to heed that. The request's bytes are its own. An error that is no *RemoteError reaches the caller as one with CodeFailed.
type Handler func(ctx context.Context, peer Peer, request []byte) (reply []byte, err error)

// StreamHandler gets a connection, which is its own from then on. It may keep it beyond its return.
type StreamHandler func(peer Peer, conn net.Conn)

// Bus is one node's end of all its connections with other nodes.
type Bus struct {
	options Options
	ctx     context.Context // ends when closing begins
	cancel  context.CancelFunc
	quiet   limiter // of the log's lines about refusals
	done    sync.WaitGroup

	mu         sync.Mutex // guards all below; taken before a client's
	closing    bool
	listeners  []net.Listener
	handshakes *list.List // of net.Conn: those that came in and have not said who they are, oldest first
	links      map[*link]struct{}
	inbound    int                // of links
	guests     int                // of inbound
	clients    map[string]*client // by address
	flights    map[Target]*flight
	methods    map[Method]Handler
	streams    map[Kind]StreamHandler
}

// New returns a Bus that does nothing yet.
func New(options Options) *Bus {
	b := &Bus{
		options:    options.withDefaults(),
		handshakes: list.New(),
		links:      make(map[*link]struct{}),
		clients:    make(map[string]*client),
		flights:    make(map[Target]*flight),
		methods:    make(map[Method]Handler),
		streams:    make(map[Kind]StreamHandler),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Handle says who answers requests of a method. It panics when the method has a handler already.
func (b *Bus) Handle(method Method, handler Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.methods[method] != nil {
		panic(fmt.Sprintf("bus: method %d has two handlers", method))
	}
	b.methods[method] = handler
}

// HandleStream says who gets the connections of a kind. Until then they are refused with ErrNotReady. It panics when the kind has a handler already, and for KindControl.
func (b *Bus) HandleStream(kind Kind, handler StreamHandler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streams[kind] != nil || kind == KindControl {
		panic(fmt.Sprintf("bus: kind %s has two handlers", kind))
	}
	b.streams[kind] = handler
}

func (b *Bus) handler(method Method) Handler {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.methods[method]
}

func (b *Bus) stream(kind Kind) StreamHandler {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.streams[kind]
}

// Serve accepts connections on l until Close, and returns at once.
func (b *Bus) Serve(l net.Listener) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return net.ErrClosed
	}
	b.listeners = append(b.listeners, l)
	b.done.Go(func() { b.accept(l) })
	return nil
}

// Close ends every connection, those that were handed out included, and every goroutine. It waits for handlers. Calls in flight end with ErrUncertain, calls from then on
// with ErrUnreachable.
func (b *Bus) Close() error {
	b.cancel()
	b.mu.Lock()
	first := !b.closing
	b.closing = true
	var err error
	for _, l := range b.listeners {
		if e := l.Close(); e != nil && first && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	for e := b.handshakes.Front(); e != nil; e = e.Next() {
		e.Value.(net.Conn).Close()
	}
	open := make([]*link, 0, len(b.links))
	for l := range b.links {
		open = append(open, l)
	}
	b.mu.Unlock()
	for _, l := range open {
		l.Close()
	}
	b.done.Wait()
	return err
}
