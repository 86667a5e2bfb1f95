package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
)

// advertiser keeps the address under which others know this node up to date. A container that
// leaves its network and comes back has another address.
type advertiser struct {
	log     *slog.Logger
	self    *localNode
	gossip  *gossip
	streams *streamLayer
	bus     Bus
}

// update advertises another address if the machine has lost the known one.
func (a *advertiser) update() {
	moved, err := a.gossip.updateAdvertised()
	switch {
	case err != nil:
		a.log.Warn("cannot advertise a new address for this node", "err", err)
	case moved:
		host, _ := a.gossip.address()
		a.self.setHost(host)
		a.streams.renew()
		a.bus.Renew()
	}
}

// bindIP returns the IP address to listen on.
func bindIP(bind string) (net.IP, error) {
	ip := net.ParseIP(bind)
	if ip == nil && bind != "" {
		found, err := net.DefaultResolver.LookupIPAddr(context.Background(), bind)
		if err != nil {
			return nil, err
		}
		ip = found[0].IP
	}
	if ip == nil {
		ip = net.IPv4zero
	}
	return ip, nil
}

// advertisedIP returns the IP address under which others reach a node that listens on bind.
func advertisedIP(bind net.IP) (net.IP, error) {
	if !bind.IsUnspecified() {
		return bind, nil
	}
	present, err := machineAddresses()
	if err != nil {
		return nil, err
	}
	best := mostReachable(present)
	if best == nil {
		return nil, errNoAddressHere
	}
	return best, nil
}

var errNoAddressHere = errors.New("this machine has no address that other nodes can reach")

// machineAddresses returns the IP addresses of this machine, of both versions: a node that listens
// on 0.0.0.0 or on :: listens on all.
func machineAddresses() (all []net.IP, err error) {
	found, err := net.InterfaceAddrs()
	for _, a := range found {
		if n, ok := a.(*net.IPNet); ok {
			all = append(all, n.IP)
		}
	}
	return all, err
}

// mostReachable returns the address that other machines are most likely to reach; nil if there is none.
func mostReachable(present []net.IP) (best net.IP) {
	rank := func(ip net.IP) int {
		switch {
		case ip == nil:
			return 0
		case ip.IsLoopback():
			return 1
		case ip.To4() == nil:
			return 2
		case !ip.IsPrivate():
			return 3
		default:
			return 4
		}
	}
	for _, ip := range present {
		if !ip.IsLinkLocalUnicast() && rank(ip) > rank(best) {
			best = ip
		}
	}
	return best
}

// betterAddress returns the address to advertise from now on if this machine no longer has the
// known one; nil while it has, or while it has no better one. The address that the node started
// with is preferred as soon as it is back: another one, of a bridge for example, may be unreachable
// for others.
func betterAddress(known, first net.IP, present []net.IP) net.IP {
	best := mostReachable(present)
	if best == nil || best.IsLoopback() {
		return nil // off every network: the known address may still be right
	}
	for _, keep := range []net.IP{first, known} {
		if !keep.IsLoopback() && slices.ContainsFunc(present, keep.Equal) {
			best = keep
			break
		}
	}
	if best.Equal(known) {
		return nil
	}
	return best
}

// updateAdvertised restarts gossip under another address if this machine has lost the advertised
// one, and reports whether it did. A node bound to a single address stays there.
func (g *gossip) updateAdvertised() (moved bool, err error) {
	if !g.bind.IsUnspecified() {
		return false, nil
	}
	present, err := machineAddresses()
	if err != nil {
		return false, err
	}
	return g.updateAdvertisedFrom(present)
}

// updateAdvertisedFrom is updateAdvertised on a machine with the given addresses.
func (g *gossip) updateAdvertisedFrom(present []net.IP) (moved bool, err error) {
	g.mu.Lock()
	known, running := net.ParseIP(g.host), g.list != nil
	g.mu.Unlock()
	to := betterAddress(known, g.first, present)
	switch {
	case to == nil && running:
		return false, nil
	case to == nil: // an earlier move failed
		to = known
	}
	return true, g.move(to)
}

// move restarts gossip at another address, under another name. What the old list saw is discarded
// until the new one has seen it, and late reports of the old list are ignored.
func (g *gossip) move(to net.IP) error {
	g.sending.Lock()
	defer g.sending.Unlock()
	g.mu.Lock()
	old, from, port := g.list, g.host, g.port
	g.list = nil
	g.moves++
	moves := g.moves
	g.mu.Unlock()
	if old != nil {
		members := old.Members()
		if err := old.Shutdown(); err != nil {
			return err
		}
		for _, n := range members {
			g.observe(n, false)
		}
	}
	if err := g.listen(to, port, moves); err != nil {
		return err
	}
	if to.String() == from {
		g.log.Info("gossip restarted", "address", from)
	} else {
		g.log.Warn("advertised address changed", "was", from, "is", to)
	}
	return nil
}
