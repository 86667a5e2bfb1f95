package node

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

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
		if a.Host == "" || a.Port == 0 {
			return ListenerConfig{}, fmt.Errorf("announces %q, which no client can reach", value)
		}
		l.Announce = a
	}
	return l, nil
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

func joinHostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
