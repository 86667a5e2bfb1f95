package cluster

import (
	"context"
	"errors"
	"net"
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

// advertised returns the IP address to tell others.
func advertised(bind string) (string, error) {
	ip, err := bindIP(bind)
	if err != nil {
		return "", err
	}
	if !ip.IsUnspecified() {
		return ip.String(), nil
	}
	present, err := addresses()
	if err != nil {
		return "", err
	}
	best := reachable(present)
	if best == nil {
		return "", errors.New("this machine has no address that others could reach")
	}
	return best.String(), nil
}

// addresses returns the IP addresses of this machine.
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

// elsewhere returns the address to tell others from now on when the one that they know is not of this machine any more, nil while it is, or while there is no better one.
func elsewhere(known net.IP, present []net.IP) net.IP {
	best := reachable(present)
	if best == nil || best.IsLoopback() {
		return nil // off every network: those who know the old address may yet be right
	}
	for _, ip := range present {
		if ip.Equal(known) && !known.IsLoopback() {
			return nil
		}
	}
	return best
}

// follow has others know this node by another address when the machine has lost the one that they know, and reports whether it has. A node that was told to listen on one address alone stays there.
func (g *gossip) follow() (moved bool, err error) {
	ip, err := bindIP(g.config.GossipBind)
	if err != nil || !ip.IsUnspecified() {
		return false, err
	}
	present, err := addresses()
	if err != nil {
		return false, err
	}
	host, _ := g.address()
	to := elsewhere(net.ParseIP(host), present)
	if to == nil {
		return false, nil
	}
	return true, g.move(to.String())
}

// move starts gossip anew at another address, under another name. What the old one saw is gone until the new one has seen it.
func (g *gossip) move(to string) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	old, heard, from, port, moves := g.list, g.ear, g.host, g.port, g.moves+1
	g.list = nil
	g.mu.Unlock()
	if old != nil {
		if err := old.Shutdown(); err != nil {
			return err
		}
		heard.close()
		for _, n := range old.Members() {
			g.note(n, false)
		}
	}
	if err := g.listen(to, port, moves); err != nil {
		return err
	}
	g.log.Warn("the address of this node has changed", "was", from, "is", to)
	return nil
}
