package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/ndring/ndring/cluster/topology"
)

// ListenerConfig is one --listen.
type ListenerConfig struct {
	Name     string
	Address  string           // host:port to listen on
	Announce topology.Address // zero: each client is given the address that it connected to
}

// setListen reads one or more NAME=ADDRESS:PORT[,announce=HOST:PORT], separated by blanks.
func setListen(c *Config, s string) error {
	for _, one := range strings.Fields(s) {
		l, err := parseListener(one)
		if err != nil {
			return err
		}
		for _, earlier := range c.Listen {
			if earlier.Name == l.Name {
				return fmt.Errorf("has two listeners named %q", l.Name)
			}
		}
		c.Listen = append(c.Listen, l)
	}
	return nil
}

func getListen(c *Config) string {
	var all []string
	for _, l := range c.Listen {
		one := l.Name + "=" + l.Address
		if l.Announce != (topology.Address{}) {
			one += ",announce=" + joinHostPort(l.Announce.Host, l.Announce.Port)
		}
		all = append(all, one)
	}
	return strings.Join(all, " ")
}

func parseListener(s string) (ListenerConfig, error) {
	spec, announce, announced := strings.Cut(s, ",")
	name, address, ok := strings.Cut(spec, "=")
	if !ok || name == "" {
		return ListenerConfig{}, errors.New("must have the form NAME=ADDRESS:PORT[,announce=HOST:PORT]")
	}
	if _, err := parseAddress(address); err != nil {
		return ListenerConfig{}, err
	}
	l := ListenerConfig{Name: name, Address: address}
	if announced {
		value, ok := strings.CutPrefix(announce, "announce=")
		if !ok {
			return ListenerConfig{}, fmt.Errorf("has %q in place of announce=HOST:PORT", announce)
		}
		a, err := parseAddress(value)
		if err != nil {
			return ListenerConfig{}, err
		}
		if err := checkAnnounced(a); err != nil {
			return ListenerConfig{}, fmt.Errorf("announces %q, which no client can reach: %w", value, err)
		}
		l.Announce = a
	}
	return l, nil
}

// checkAnnounced refuses addresses to which no client can connect. Clients split MOVED at blanks and at the last colon.
func checkAnnounced(a topology.Address) error {
	ip, err := netip.ParseAddr(a.Host)
	switch {
	case a.Host == "" || a.Port == 0:
		return errors.New("the host or the port is missing")
	case err == nil && ip.IsUnspecified():
		return errors.New("it means all addresses; announce one address or the name of this machine")
	case err != nil && strings.Trim(strings.ToLower(a.Host), "abcdefghijklmnopqrstuvwxyz0123456789-._") != "":
		return errors.New("the host is neither a name nor an IP address; one --listen announces one address")
	}
	return nil
}

func parseAddress(s string) (topology.Address, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return topology.Address{}, fmt.Errorf("has %q in place of HOST:PORT", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return topology.Address{}, fmt.Errorf("has %q in place of a port number", port)
	}
	return topology.Address{Host: host, Port: int(n)}, nil
}

// cannotListen returns the error of a port that cannot be opened: for which clients, and which flag changes it.
func cannotListen(whom, flag string, err error) error {
	err = fmt.Errorf("cannot listen for %s (%s): %w", whom, flag, err)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: another process, perhaps another node, uses it; choose another port with %s, or 0 for any", err, flag)
	}
	return err
}

// flag returns the flag that sets the address of a listener.
func (l ListenerConfig) flag(c *Config) string {
	if l.Name == "default" && l.Address == joinHostPort(c.Bind, c.Port) {
		return "--port"
	}
	return "--listen " + l.Name + "="
}

func joinHostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
