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
	TLS      string           // yes or no; empty: yes if the node has a certificate
	Announce topology.Address // zero: each client is given the address that it connected to
}

// setListen reads one or more NAME=ADDRESS:PORT with options, separated by blanks.
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
		if l.TLS != "" {
			one += ",tls=" + l.TLS
		}
		if l.Announce != (topology.Address{}) {
			one += ",announce=" + joinHostPort(l.Announce.Host, l.Announce.Port)
		}
		all = append(all, one)
	}
	return strings.Join(all, " ")
}

func parseListener(s string) (ListenerConfig, error) {
	options := strings.Split(s, ",")
	name, address, ok := strings.Cut(options[0], "=")
	if !ok || name == "" {
		return ListenerConfig{}, errors.New("must have the form NAME=ADDRESS:PORT[,tls=yes|no][,announce=HOST:PORT]")
	}
	if _, err := parseAddress(address); err != nil {
		return ListenerConfig{}, err
	}
	l := ListenerConfig{Name: name, Address: address}
	for _, option := range options[1:] {
		if err := l.setOption(option); err != nil {
			return ListenerConfig{}, err
		}
	}
	return l, nil
}

func (l *ListenerConfig) setOption(option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch {
	case name == "tls" && l.TLS != "", name == "announce" && l.Announce != topology.Address{}:
		return fmt.Errorf("has %s= twice", name)
	case name == "tls" && (value == "yes" || value == "no"):
		l.TLS = value
		return nil
	case name != "announce":
		return fmt.Errorf("has %q in place of tls=yes|no or announce=HOST:PORT; one --listen announces one address", option)
	}
	a, err := parseAddress(value)
	if err != nil {
		return err
	}
	if err := checkAnnounced(a); err != nil {
		return fmt.Errorf("announces %q, which no client can reach: %w", value, err)
	}
	l.Announce = a
	return nil
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
