package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
)

// ClusterConfig is how a node finds the others, and how they find it.
type ClusterConfig struct {
	BusPort       int // 0 lets the system choose
	GossipPort    int // 0 lets the system choose
	Join          []string
	Expect        int
	Replicas      int
	EmptyShards   string // topology.EmptyAuto or EmptyOperator
	Moves         cluster.Moves
	MoveRate      int64 // bytes a second; 0: no limit
	Weight        int
	GossipKeyFile string
	BusTLS        busFiles
	Readmit       []string // nodes that were removed and may come back
	Insecure      bool     // gossip or bus of other machines may be open

	busPort, gossipPort string // as given; empty: derived from Port
	timing              cluster.Timing
}

// SetTiming changes how fast the cluster detects failures and decides; for tests on a busy machine.
func (c *ClusterConfig) SetTiming(t cluster.Timing) { c.timing = t }

// maxExpect is the largest number of nodes that bootstrap a cluster together; more can join later.
const maxExpect = 255

// busOffset is the default distance from the client port to the bus port, as in Redis.
const busOffset = 10_000

func setPort(at *string, s string) error {
	if n, err := strconv.Atoi(s); err != nil || n < 0 || n > 65535 {
		return errors.New("must be a number from 0 to 65535")
	}
	*at = s
	return nil
}

func setEmptyShards(c *Config, s string) error {
	if s != topology.EmptyAuto && s != topology.EmptyOperator {
		return errors.New("must be auto or operator")
	}
	c.Cluster.EmptyShards = s
	return nil
}

func setRebalance(c *Config, s string) error {
	if s != topology.RebalanceAuto && s != topology.RebalanceOperator {
		return errors.New("must be auto or operator")
	}
	c.Cluster.Moves.Rebalance = s
	return nil
}

// States of the setting moves.
const (
	movesOn     = "on"
	movesPaused = "paused"
)

func setMoves(c *Config, s string) error {
	if s != movesOn && s != movesPaused {
		return errors.New("must be on or paused")
	}
	c.Cluster.Moves.Paused = s == movesPaused
	return nil
}

func getMoves(c *Config) string {
	if c.Cluster.Moves.Paused {
		return movesPaused
	}
	return movesOn
}

func setReplaceAfter(c *Config, s string) error {
	d, err := time.ParseDuration(s)
	if s == "0" {
		d, err = 0, nil
	}
	if err != nil || d < 0 {
		return errors.New("must be a duration such as 30s, or 0")
	}
	c.Cluster.Moves.ReplaceAfter = d
	return nil
}

// leastMoveRate is the lowest rate with which a transfer goes on before the other node takes it for stalled.
const leastMoveRate = 64 << 10

func setMoveRate(c *Config, s string) error {
	rate := bytesField(0, 1<<40, func(c *Config) *int64 { return &c.Cluster.MoveRate })
	was := c.Cluster.MoveRate
	err := rate.set(c, s)
	if err == nil && c.Cluster.MoveRate > 0 && c.Cluster.MoveRate < leastMoveRate {
		c.Cluster.MoveRate, err = was, errors.New("must be at least 64kb, or 0")
	}
	return err
}

// setJoin reads addresses separated by commas or blanks. Repeated --join add up.
func setJoin(c *Config, s string) error {
	for _, address := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		if strings.Contains(address, "://") {
			return fmt.Errorf("has the URL %q in place of a gossip address HOST[:PORT]", address)
		}
		host, port := address, ""
		if h, p, err := net.SplitHostPort(address); err == nil {
			host, port = h, p
		} else if strings.Count(address, ":") == 1 {
			return fmt.Errorf("has %q in place of HOST[:PORT]", address)
		}
		if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) || host == "" {
			return fmt.Errorf("has %q in place of HOST[:PORT]", address)
		}
		c.Cluster.Join = append(c.Cluster.Join, address)
	}
	return nil
}

func getJoin(c *Config) string { return strings.Join(c.Cluster.Join, ",") }

// complete derives settings from others, and refuses combinations that exclude each other.
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
			*p.port, _ = strconv.Atoi(p.given) // setPort has checked it
		}
	}
	if err := c.Cluster.BusTLS.check(); err != nil {
		return err
	}
	c.Server.PlainSecrets = c.Cluster.Insecure
	switch {
	case len(c.openPorts()) > 0 && !c.Cluster.Insecure:
		return fmt.Errorf("with --bind %s other machines reach the ports between nodes, and %s. Give all nodes a certificate each and the same gossip key (ndctl certs init "+
			"makes both; openssl rand -hex 32 makes a key), or, in a network that you trust, --insecure (NDRING_INSECURE=yes)", orAny(c.Bind), strings.Join(c.openPorts(), " and "))
	case c.Cluster.BusPort > 65535:
		return fmt.Errorf("--port %d leaves no room for --bus-port, by default %d more: set --bus-port", c.Port, busOffset)
	case c.Dev > 0 && (len(c.Cluster.Join) > 0 || c.Cluster.Expect > 0):
		return errors.New("--dev runs its own cluster: it excludes --join and --bootstrap-expect")
	case c.Dev > 0 && c.Cluster.BusTLS.Cert != "":
		return errors.New("--dev runs several nodes, and a certificate is for one: it excludes --bus-tls-cert")
	case c.Dev > 0 && len(c.Listen) > 1, c.Dev > 0 && c.Listen[0].Name != "default":
		return errors.New("--dev excludes --listen")
	}
	return c.checkTLS()
}

// openPorts names what protects the ports between nodes and is missing, if other machines reach them. The ports of clients have
// protected mode.
func (c *Config) openPorts() (missing []string) {
	ip, err := netip.ParseAddr(c.Bind)
	if c.Bind == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	if c.Cluster.GossipKeyFile == "" {
		missing = append(missing, "gossip has no key (--gossip-key-file)")
	}
	if c.Cluster.BusTLS.Cert == "" {
		missing = append(missing, "the bus has no TLS (--bus-tls-cert, --bus-tls-key, --bus-tls-ca)")
	}
	return missing
}

// warnOfOpenPorts logs what is open to other machines, in one line.
func (c *Config) warnOfOpenPorts(log *slog.Logger) {
	if len(c.openPorts()) == 0 {
		return
	}
	var open, fix []string
	if c.Cluster.GossipKeyFile == "" {
		open = append(open, fmt.Sprintf("gossip is not encrypted: anyone who reaches port %d can make this node see nodes that do not exist, or take nodes for dead", c.Cluster.GossipPort))
		fix = append(fix, "--gossip-key-file")
	}
	if c.Cluster.BusTLS.Cert == "" {
		open = append(open, fmt.Sprintf("the bus is plain: anyone who reaches port %d and knows the cluster's id, which gossip tells, can read and change arrays as a node", c.Cluster.BusPort))
		fix = append(fix, "--bus-tls-cert, --bus-tls-key, --bus-tls-ca")
	}
	log.Warn("--insecure: "+strings.Join(open, "; "), "fix", strings.Join(fix, ", "))
}

// orAny returns a name for an address to listen on.
func orAny(bind string) string {
	if bind == "" {
		return "'' (all addresses)"
	}
	return bind
}

func setReadmit(c *Config, s string) error {
	c.Cluster.Readmit = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	return nil
}

func getReadmit(c *Config) string { return strings.Join(c.Cluster.Readmit, ",") }

// announced returns the addresses that clients are given for the listeners. Bound are the addresses of their sockets.
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
