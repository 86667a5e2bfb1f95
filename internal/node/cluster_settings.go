package node

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
)

// ClusterConfig says how a node finds the others, and how they find it.
type ClusterConfig struct {
	BusPort       int // 0 lets the system choose
	GossipPort    int // likewise
	Join          []string
	Expect        int
	Replicas      int
	GossipKeyFile string
	Insecure      bool // gossip with other machines without a key

	busPort, gossipPort string // as they were given; empty: it follows from Port
	timing              cluster.Timing
}

// SetTiming changes how fast the cluster notices and decides; for tests on a busy machine.
func (c *ClusterConfig) SetTiming(t cluster.Timing) { c.timing = t }

// maxExpect is the largest number of nodes that make a cluster together; more can join later.
const maxExpect = 255

// busOffset is what the bus' port is above that of clients, as in Redis.
const busOffset = 10_000

var clusterSettings = []setting{
	{"bus-port", "N", "", "port for other nodes: agreement and replication. By default --port + 10000; 0, and with --port 0, lets the system choose",
		field{
			set: func(c *Config, s string) error { return setPort(&c.Cluster.busPort, s) },
			get: func(c *Config) string { return strconv.Itoa(c.Cluster.BusPort) },
		}, false},
	{"gossip-port", "N", "", "port (TCP and UDP) by which nodes find each other. 7946 by default; 0, and with --port 0, lets the system choose",
		field{
			set: func(c *Config, s string) error { return setPort(&c.Cluster.gossipPort, s) },
			get: func(c *Config) string { return strconv.Itoa(c.Cluster.GossipPort) },
		}, false},
	{"join", "HOST[:PORT],...", "", "gossip addresses of nodes of the cluster that this one is to be part of. One that answers is enough. Names are looked up anew at each try. " +
		"Without --join and --bootstrap-expect the node is a cluster of one, which others may join", field{setJoin, getJoin}, false},
	{"bootstrap-expect", "N", "0", "make a new cluster as soon as N nodes that were started with the same number see each other by --join; for nodes with an empty " +
		"data folder, others remember their cluster. 0: join one that is there", intField(0, maxExpect, func(c *Config) *int { return &c.Cluster.Expect }), false},
	{"replicas", "N", "2", "copies of each shard, the primary's included; for a cluster that is made here. Copies are assigned, and will be kept once there is replication",
		intField(1, 5, func(c *Config) *int { return &c.Cluster.Replicas }), false},
	{"zone", "NAME", "", "where the node stands, such as a rack or a data centre: copies of a shard go to different zones where there are any", field{
		set: func(c *Config, s string) error {
			if len(s) > 64 {
				return errors.New("has more than 64 characters")
			}
			c.Zone = s
			return nil
		},
		get: func(c *Config) string { return c.Zone },
	}, false},
	{"gossip-key-file", "FILE", "", "file with the key by which gossip is encrypted: 16, 24 or 32 bytes in base64 or hexadecimal digits, the same on all nodes",
		textField(func(c *Config) *string { return &c.Cluster.GossipKeyFile }), false},
	{"insecure", "yes|no", "no", "gossip on an address that other machines reach without --gossip-key-file: anyone who reaches the gossip port can then add nodes " +
		"to what this one sees, or have it take nodes for dead", boolField(func(c *Config) *bool { return &c.Cluster.Insecure }), false},
}

func setPort(at *string, s string) error {
	if n, err := strconv.Atoi(s); err != nil || n < 0 || n > 65535 {
		return errors.New("is no number from 0 to 65535")
	}
	*at = s
	return nil
}

// setJoin reads addresses, separated by commas or blanks. Several --join add up.
func setJoin(c *Config, s string) error {
	for _, address := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		if strings.Contains(address, "://") {
			return fmt.Errorf("has %q, which is a URL, where HOST[:PORT] of a node's gossip must stand", address)
		}
		host, port := address, ""
		if h, p, err := net.SplitHostPort(address); err == nil {
			host, port = h, p
		} else if strings.Count(address, ":") == 1 {
			return fmt.Errorf("has %q where HOST[:PORT] must stand", address)
		}
		if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) || host == "" {
			return fmt.Errorf("has %q where HOST[:PORT] must stand", address)
		}
		c.Cluster.Join = append(c.Cluster.Join, address)
	}
	return nil
}

func getJoin(c *Config) string { return strings.Join(c.Cluster.Join, ",") }

// complete fills in what follows from other settings, and refuses those that exclude each other.
func (c *Config) complete() error {
	c.Cluster.BusPort, c.Cluster.GossipPort = c.Port+busOffset, cluster.DefaultGossipPort
	if c.Port == 0 {
		c.Cluster.BusPort, c.Cluster.GossipPort = 0, 0
	}
	for _, p := range []struct {
		given string
		port  *int
	}{{c.Cluster.busPort, &c.Cluster.BusPort}, {c.Cluster.gossipPort, &c.Cluster.GossipPort}} {
		if p.given != "" {
			*p.port, _ = strconv.Atoi(p.given) // setPort has looked at it
		}
	}
	switch {
	case c.openGossip() && !c.Cluster.Insecure:
		return fmt.Errorf("with --bind %s other machines reach the gossip port, and nothing keeps strangers out: give all nodes the same --gossip-key-file "+
			"(openssl rand -hex 32 makes one), or, in a network that you trust, --insecure (NDRING_INSECURE=yes)", orAny(c.Bind))
	case c.Cluster.BusPort > 65535:
		return fmt.Errorf("--port %d leaves no place for --bus-port, which is %d more by default: give it", c.Port, busOffset)
	case c.Dev > 0 && (len(c.Cluster.Join) > 0 || c.Cluster.Expect > 0):
		return errors.New("--dev makes a cluster of its own: it excludes --join and --bootstrap-expect")
	case c.Dev > 0 && len(c.Listen) > 1, c.Dev > 0 && c.Listen[0].Name != "default":
		return errors.New("--dev excludes --listen")
	}
	return nil
}

// openGossip reports whether other machines reach the gossip port and need no key.
func (c *Config) openGossip() bool {
	ip, err := netip.ParseAddr(c.Bind)
	return c.Cluster.GossipKeyFile == "" && (err != nil && c.Bind != "localhost" || err == nil && !ip.IsLoopback())
}

// warnOfOpenGossip logs that gossip needs no key, if that is so.
func (c *Config) warnOfOpenGossip(log *slog.Logger) {
	if c.openGossip() {
		log.Warn("gossip has no key (--insecure): anyone who reaches its port can make this node see nodes that do not exist, or take nodes for dead",
			"port", c.Cluster.GossipPort, "mend", "--gossip-key-file")
	}
}

// orAny is how an address to listen on is named.
func orAny(bind string) string {
	if bind == "" {
		return "'' (all addresses)"
	}
	return bind
}

// gossipKey reads the key file.
func (c *ClusterConfig) gossipKey() ([]byte, error) {
	if c.GossipKeyFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.GossipKeyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the gossip key: %w", err)
	}
	text = bytes.TrimSpace(text)
	key, err := hex.DecodeString(string(text))
	if err != nil {
		key, err = base64.StdEncoding.DecodeString(string(text))
	}
	if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return nil, fmt.Errorf("%s holds no gossip key: 16, 24 or 32 bytes in base64 or hexadecimal digits", c.GossipKeyFile)
	}
	return key, nil
}

// announced returns where other nodes' clients reach the listeners. Bound are their sockets' addresses.
func announced(config []ListenerConfig, bound []net.Addr) map[string]topology.Address {
	all := map[string]topology.Address{}
	for i, l := range config {
		at := l.Announce
		if tcp, ok := bound[i].(*net.TCPAddr); ok && at == (topology.Address{}) {
			at = topology.Address{Port: tcp.Port, Derived: true}
			if !tcp.IP.IsUnspecified() {
				at.Host = tcp.IP.String()
			}
		}
		all[l.Name] = at
	}
	return all
}
