package node

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/ndring/ndring/cluster/screen"
)

// simGossip is the gossip port of a process in a simulation. It implements screen.Network.
type simGossip struct {
	net      *simNet
	owner    *simProcess
	addr     *net.UDPAddr
	listener *simListener
	packets  chan *memberlist.Packet
	streams  chan net.Conn
	ended    chan struct{}
	accepts  sync.WaitGroup
}

// lostPackets is how many of a thousand datagrams are lost at any time.
const lostPackets = 10

func (n *simNet) gossip(p *simProcess, bind string, port int) (screen.Network, error) {
	address := net.JoinHostPort(bind, strconv.Itoa(port))
	l, err := n.listen(p, address)
	if err != nil {
		return nil, err
	}
	g := &simGossip{
		net: n, owner: p, addr: &net.UDPAddr{IP: l.addr.IP, Port: port}, listener: l,
		packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn), ended: make(chan struct{}),
	}
	n.update(func() { n.gossips[address] = g })
	g.accepts.Go(g.accept)
	return g, nil
}

func (g *simGossip) accept() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		select {
		case g.streams <- c:
		case <-g.ended:
			c.Close()
			return
		}
	}
}

// GetAutoBindPort implements screen.Network.
func (g *simGossip) GetAutoBindPort() int { return g.addr.Port }

// FinalAdvertiseAddr implements memberlist.Transport.
func (g *simGossip) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	addr, err := netip.ParseAddr(ip)
	return addr.AsSlice(), port, err
}

// WriteTo implements memberlist.Transport.
func (g *simGossip) WriteTo(b []byte, address string) (time.Time, error) {
	return g.WriteToAddress(b, memberlist.Address{Addr: address})
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (g *simGossip) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	now := time.Now()
	host, _, err := net.SplitHostPort(to.Addr)
	if err != nil {
		return now, err
	}
	n := g.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if g.owner.dead.Load() {
		return now, net.ErrClosed
	}
	if !n.open(g.owner.host, host) || n.random.IntN(1000) < lostPackets {
		return now, nil
	}
	p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: g.addr}
	time.AfterFunc(n.delay(), func() { n.deliver(p, g.owner.host, to.Addr, host) })
	return now, nil
}

// deliver delivers a datagram, unless its way is cut now.
func (n *simNet) deliver(p *memberlist.Packet, from, address, host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.gossips[address]
	if to == nil || !n.open(from, host) {
		return
	}
	p.Timestamp = time.Now()
	select {
	case to.packets <- p:
	default:
	}
}

// PacketCh implements memberlist.Transport.
func (g *simGossip) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements memberlist.Transport.
func (g *simGossip) StreamCh() <-chan net.Conn { return g.streams }

// DialTimeout implements memberlist.Transport.
func (g *simGossip) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return g.DialAddressTimeout(memberlist.Address{Addr: address}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (g *simGossip) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := g.owner.within(timeout)
	defer cancel()
	return g.net.dial(ctx, g.owner, to.Addr)
}

// Shutdown implements memberlist.Transport.
func (g *simGossip) Shutdown() error {
	g.net.update(func() {
		if address := g.addr.String(); g.net.gossips[address] == g {
			delete(g.net.gossips, address)
		}
	})
	close(g.ended)
	err := g.listener.Close()
	g.accepts.Wait()
	return err
}
