package screen

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network is the transport that a Transport wraps: memberlist's own, on real sockets, or one in memory.
type Network interface {
	memberlist.NodeAwareTransport
	// GetAutoBindPort returns the port that the network listens on.
	GetAutoBindPort() int
}

// Transport is memberlist's transport with all input checked.
type Transport struct {
	Network
	options Options
	packets chan *memberlist.Packet
	streams chan net.Conn
	open    openStreams
	rate    rate
	members members
	logged  atomic.Int64 // Unix time in seconds of the last logged refusal; 0: none
	done    chan struct{}
	wait    sync.WaitGroup

	shutdown sync.Once
	closed   error
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// attempts is how often Listen tries to find a port that is free for both TCP and UDP.
const attempts = 10

// Options configure a Transport.
type Options struct {
	Secret  bool          // nodes encrypt their messages
	Logger  *log.Logger   // for memberlist's own transport
	Log     *slog.Logger  // receives refusals, at most one a minute
	Refused *atomic.Int64 // counts refused datagrams and streams
}

// Listen opens the gossip port for TCP and UDP, and starts to check its input. With port 0 the system
// chooses a port.
func Listen(bind string, port int, options Options) (*Transport, error) {
	config := &memberlist.NetTransportConfig{BindAddrs: []string{bind}, BindPort: port, Logger: options.Logger}
	inner, err := memberlist.NewNetTransport(config)
	for i := 1; err != nil && port == 0 && i < attempts && strings.Contains(err.Error(), "address already in use"); i++ {
		inner, err = memberlist.NewNetTransport(config)
	}
	if err != nil {
		return nil, err
	}
	return Wrap(inner, options), nil
}

// Wrap starts to check the input of a network, which the transport then owns.
func Wrap(inner Network, options Options) *Transport {
	t := &Transport{
		Network: inner, options: options,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), done: make(chan struct{}),
	}
	t.wait.Go(t.screenPackets)
	t.wait.Go(t.screenStreams)
	return t
}

// Port returns the port that the transport listens on.
func (t *Transport) Port() int { return t.GetAutoBindPort() }

// PacketCh implements memberlist.Transport.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// screenPackets passes datagrams on in buffers of the exact size, because memberlist keeps them in queues.
func (t *Transport) screenPackets() {
	for {
		select {
		case p := <-t.Network.PacketCh():
			if !t.admit(p) {
				continue
			}
			select {
			case t.packets <- p:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

func (t *Transport) admit(p *memberlist.Packet) bool {
	looked, err := t.parse(p.Buf)
	if !t.rate.take(host(p.From), looked.cost, p.Timestamp) {
		err = errTooMany
	}
	if err == nil && !t.members.admit(looked.members, p.Timestamp) {
		err = errTooManyMembers
	}
	if err != nil {
		t.refuse(p.From, err)
		return false
	}
	p.Buf = looked.messages
	return true
}

func (t *Transport) parse(b []byte) (packet, error) {
	switch {
	case !t.options.Secret:
		return datagram(b)
	case len(b) > maxDatagram+cipherExtra:
		return packet{cost: 1}, errTooLong
	default:
		return packet{messages: bytes.Clone(b), cost: 1}, nil
	}
}

// screenStreams passes streams on. Each checks its message when memberlist reads it.
func (t *Transport) screenStreams() {
	for {
		select {
		case conn := <-t.Network.StreamCh():
			from := host(conn.RemoteAddr())
			if !t.open.take(from) {
				conn.Close()
				t.refuse(conn.RemoteAddr(), errTooMany)
				continue
			}
			s := &stream{Conn: conn, t: t, allowed: inRequests, closed: func() { t.open.free(from) }}
			select {
			case t.streams <- s:
			case <-t.done:
				s.Close()
				return
			}
		case <-t.done:
			return
		}
	}
}

// DialTimeout implements memberlist.Transport.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport. It checks replies too: the answering host may be as hostile as any.
func (t *Transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	conn, err := t.Network.DialAddressTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: conn, t: t, allowed: inReplies, closed: func() {}}, nil
}

// Shutdown implements memberlist.Transport. It drains the input until the sockets are closed, because their
// goroutines wait for readers.
func (t *Transport) Shutdown() error {
	t.shutdown.Do(func() {
		t.closed = t.Network.Shutdown()
		close(t.done)
		t.wait.Wait()
	})
	return t.closed
}

// logInterval is the minimum number of seconds between two logged refusals.
const logInterval = 60

func (t *Transport) refuse(from net.Addr, why error) {
	total := t.options.Refused.Add(1)
	now := time.Now().Unix()
	if last := t.logged.Load(); last != 0 && now-last < logInterval || !t.logged.CompareAndSwap(last, now) {
		return
	}
	t.options.Log.Warn("refused a gossip message that no ndring node sends", "from", from.String(), "why", fmt.Sprintf("a message %v", why), "refused", total)
}

func host(a net.Addr) string {
	if a == nil {
		return ""
	}
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}
