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
	Announce topology.Address // zero: clients are told the address that they came in by
}

// setListen reads NAME=ADDRESS:PORT[,announce=HOST:PORT], or several of them separated by blanks.
func setListen(c *Config, s string) error {
	for _, one := range strings.Fields(s) {
		l, err := parseListener(one)
		if err != nil {
			return err
		}
		for _, earlier := range c.Listen {
			if earlier.Name == l.Name {
				return fmt.Errorf("has two listeners of the name %q", l.Name)
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
		return ListenerConfig{}, errors.New("is not of the form NAME=ADDRESS:PORT[,announce=HOST:PORT]")
	}
	if _, err := parseAddress(address); err != nil {
		return ListenerConfig{}, err
	}
	l := ListenerConfig{Name: name, Address: address}
	if announced {
		value, ok := strings.CutPrefix(announce, "announce=")
		if !ok {
			return ListenerConfig{}, fmt.Errorf("has %q where only announce=HOST:PORT may stand", announce)
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

// checkAnnounced refuses what no client could connect to. Clients cut MOVED at blanks and at the last colon.
func checkAnnounced(a topology.Address) error {
	ip, err := netip.ParseAddr(a.Host)
	switch {
	case a.Host == "" || a.Port == 0:
		return errors.New("it lacks a host or a port")
	case err == nil && ip.IsUnspecified():
		return errors.New("that stands for all addresses; announce one of this machine, or its name")
	case err != nil && strings.Trim(strings.ToLower(a.Host), "abcdefghijklmnopqrstuvwxyz0123456789-._") != "":
		return errors.New("its host is neither a name nor an IP address; one --listen announces one address")
	}
	return nil
}

func parseAddress(s string) (topology.Address, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return topology.Address{}, fmt.Errorf("has %q where HOST:PORT must stand", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return topology.Address{}, fmt.Errorf("has %q where a port must stand", port)
	}
	return topology.Address{Host: host, Port: int(n)}, nil
}

// cannotListen says for whom, and by which flag the port is another one.
func cannotListen(whom, flag string, err error) error {
	err = fmt.Errorf("cannot listen for %s (%s): %w", whom, flag, err)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: another process has it, perhaps another node; give another port with %s, or 0 for any", err, flag)
	}
	return err
}

// flag returns what says where a listener listens.
func (l ListenerConfig) flag(c *Config) string {
	if l.Name == "default" && l.Address == joinHostPort(c.Bind, c.Port) {
		return "--port"
	}
	return "--listen " + l.Name + "="
}

func joinHostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
