package protocol

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// connectionRate limits the new connections of an address to a number a second, with a token bucket that holds the tokens of one
// second. Its zero value is ready.
type connectionRate struct {
	mu      sync.Mutex // guards all below
	buckets map[netip.Addr]*rateBucket
	rest    rateBucket // shared by the addresses for which buckets has no room
	swept   time.Time
}

type rateBucket struct {
	left float64
	last time.Time
}

const (
	maxRated  = 8192                   // addresses with a bucket of their own: those of the last second
	sweepLeft = 100 * time.Millisecond // least time between two sweeps of a full table
)

// take reports whether a connection from an address is within perSecond. Without a limit it always is. Connections from this
// machine are, too: a proxy here speaks for many clients, and an operator for the node.
func (r *connectionRate) take(remote net.Addr, perSecond int, now time.Time) bool {
	tcp, ok := remote.(*net.TCPAddr)
	if perSecond == 0 || !ok || tcp.IP.IsLoopback() {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bucket(ratedAddress(tcp.IP), now, perSecond).take(perSecond, now)
}

// ratedAddress returns what connections are counted by: an IPv4 address, or the /64 of an IPv6 address, which one machine has
// as a whole.
func ratedAddress(ip net.IP) netip.Addr {
	address, _ := netip.AddrFromSlice(ip)
	address = address.Unmap()
	if address.Is6() {
		prefix, _ := address.Prefix(64)
		return prefix.Addr()
	}
	return address
}

// bucket returns the bucket of an address. r.mu is held.
func (r *connectionRate) bucket(address netip.Addr, now time.Time, perSecond int) *rateBucket {
	if b := r.buckets[address]; b != nil {
		return b
	}
	if r.buckets == nil {
		r.buckets = map[netip.Addr]*rateBucket{}
	}
	if len(r.buckets) >= maxRated && now.Sub(r.swept) >= sweepLeft {
		r.swept = now
		for other, b := range r.buckets {
			if now.Sub(b.last) >= time.Second { // it is full again
				delete(r.buckets, other)
			}
		}
	}
	if len(r.buckets) >= maxRated {
		return &r.rest
	}
	b := &rateBucket{left: float64(perSecond), last: now}
	r.buckets[address] = b
	return b
}

func (b *rateBucket) take(perSecond int, now time.Time) bool {
	most := float64(perSecond)
	b.left = min(most, b.left+now.Sub(b.last).Seconds()*most)
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

const rateText = "ERR too many new connections from this address, try again in a second (connection-rate)"

// tooFast rejects a connection that exceeds the rate of its address, and reports whether it did.
func tooFast(s *Server, nc net.Conn, l Listener) bool {
	now := time.Now()
	if s.rate.take(nc.RemoteAddr(), s.config.Load().ConnectionRate, now) {
		return false
	}
	s.counters.rateLimited.Add(1)
	if dropped, ok := s.rateWarning.pass(now); ok {
		s.log.Warn("refused connections of a client that connects too often (connection-rate)", "client", nc.RemoteAddr(), "suppressed", dropped)
	}
	refuse(nc, l, rateText)
	return true
}
