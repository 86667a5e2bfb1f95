package cluster

import (
	"context"
	"errors"
	"net"
	"slices"
)

// Which address of its machine a node tells others, and what it does when that address goes: a container that is taken off its network and put back has another one.

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

// advertised returns the IP address to tell others by a node that listens on bind.
func advertised(bind net.IP) (net.IP, error) {
	if !bind.IsUnspecified() {
		return bind, nil
	}
	present, err := addresses()
	if err != nil {
		return nil, err
	}
	best := reachable(present)
	if best == nil {
		return nil, errors.New("this machine has no address that others could reach")
	}
	return best, nil
}

// addresses returns the IP addresses of this machine. One that listens on 0.0.0.0 or on :: listens on those of both versions.
func addresses() (all []net.IP, err error) {
	found, err := net.InterfaceAddrs()
	for _, a := range found {
		if n, ok := a.(*net.IPNet); ok {
			all = append(all, n.IP)
		}
	}
	return all, err
}

// reachable returns the address by which others reach this machine best; nil if there is none.
func reachable(present []net.IP) (best net.IP) {
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

// elsewhere returns the address to tell others from now on when the one that they know is not of this machine any more, nil while it is, or while there is no
// better one. The one that the node was started with is better than any, once it is back: that of another network, a bridge of this machine for example, may be
// one that nobody reaches.
func elsewhere(known, first net.IP, present []net.IP) net.IP {
	best := reachable(present)
	if best == nil || best.IsLoopback() {
		return nil // off every network: those who know the old address may yet be right
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

// follow has others know this node by another address when the machine has lost the one that they know, and reports whether it has. A node that was told to listen on one address alone stays there.
func (g *gossip) follow() (moved bool, err error) {
	if !g.bind.IsUnspecified() {
		return false, nil
	}
	present, err := addresses()
	if err != nil {
		return false, err
	}
	return g.followTo(present)
}

// followTo is follow on a machine that has these addresses.
func (g *gossip) followTo(present []net.IP) (moved bool, err error) {
	g.mu.Lock()
	known, heard := net.ParseIP(g.host), g.list != nil
	g.mu.Unlock()
	to := elsewhere(known, g.first, present)
	switch {
	case to == nil && heard:
		return false, nil
	case to == nil: // an earlier move has failed
		to = known
	}
	return true, g.move(to)
}

// move starts gossip anew at another address, under another name. What the old one saw is gone until the new one has seen it, and what it still tells is not heard.
func (g *gossip) move(to net.IP) error {
	g.turn.Lock()
	defer g.turn.Unlock()
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
			g.note(n, false)
		}
	}
	if err := g.listen(to, port, moves); err != nil {
		return err
	}
	if to.String() == from {
		g.log.Info("gossip is heard again", "address", from)
	} else {
		g.log.Warn("the address of this node has changed", "was", from, "is", to)
	}
	return nil
}
