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

// network is what a Transport stands around: memberlist's own transport, on real sockets.
type network interface {
	memberlist.NodeAwareTransport
	GetAutoBindPort() int
}

// Transport is memberlist's transport with what comes in looked at.
type Transport struct {
	network
	options Options
	packets chan *memberlist.Packet
	streams chan net.Conn
	open    places
	rate    rate
	members members
	told    atomic.Int64 // when a refusal was logged, in seconds; 0 for never
	done    chan struct{}
	wait    sync.WaitGroup

	shutdown sync.Once
	closed   error
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// attempts is how often a free port is looked for that TCP and UDP have both.
const attempts = 10

// Options are what all screens of a node have in common.
type Options struct {
	Secret  bool          // nodes encrypt what they send
	Logger  *log.Logger   // of memberlist's own transport
	Log     *slog.Logger  // is told of what is refused, at most once a minute
	Refused *atomic.Int64 // counts datagrams and streams that were not passed on
}

// Listen opens the gossip port, TCP and UDP, and starts to look at what comes. Port 0 lets the
// system choose.
func Listen(bind string, port int, options Options) (*Transport, error) {
	config := &memberlist.NetTransportConfig{BindAddrs: []string{bind}, BindPort: port, Logger: options.Logger}
	inner, err := memberlist.NewNetTransport(config)
	for i := 1; err != nil && port == 0 && i < attempts && strings.Contains(err.Error(), "address already in use"); i++ {
		inner, err = memberlist.NewNetTransport(config)
	}
	if err != nil {
		return nil, err
	}
	return around(inner, options), nil
}

func around(inner network, options Options) *Transport {
	t := &Transport{
		network: inner, options: options,
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

// screenPackets passes datagrams on in buffers of their own size: memberlist keeps them in its queues.
func (t *Transport) screenPackets() {
	for {
		select {
		case p := <-t.network.PacketCh():
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
	looked, err := t.look(p.Buf)
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

func (t *Transport) look(b []byte) (packet, error) {
	switch {
	case !t.options.Secret:
		return datagram(b)
	case len(b) > maxDatagram+cipherExtra:
		return packet{cost: 1}, errTooLong
	default:
		return packet{messages: bytes.Clone(b), cost: 1}, nil
	}
}

// screenStreams passes streams on; a message of theirs is looked at when memberlist reads it.
func (t *Transport) screenStreams() {
	for {
		select {
		case conn := <-t.network.StreamCh():
			from := host(conn.RemoteAddr())
			if !t.open.take(from) {
				conn.Close()
				t.refuse(conn.RemoteAddr(), errTooMany)
				continue
			}
			s := &stream{Conn: conn, t: t, takes: inRequests, closed: func() { t.open.free(from) }}
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

// DialAddressTimeout implements memberlist.NodeAwareTransport. Who answers may be as hostile as who
// asks.
func (t *Transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	conn, err := t.network.DialAddressTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: conn, t: t, takes: inReplies, closed: func() {}}, nil
}

// Shutdown implements memberlist.Transport. What comes is read until the sockets are closed, since
// their goroutines wait for that.
func (t *Transport) Shutdown() error {
	t.shutdown.Do(func() {
		t.closed = t.network.Shutdown()
		close(t.done)
		t.wait.Wait()
	})
	return t.closed
}

// tellInterval is the least number of seconds between two refusals that are logged.
const tellInterval = 60

func (t *Transport) refuse(from net.Addr, why error) {
	total := t.options.Refused.Add(1)
	now := time.Now().Unix()
	if last := t.told.Load(); last != 0 && now-last < tellInterval || !t.told.CompareAndSwap(last, now) {
		return
	}
	t.options.Log.Warn("the gossip port refuses what no node of ndring sends", "from", from.String(), "why", fmt.Sprintf("a message %v", why), "refused", total)
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
