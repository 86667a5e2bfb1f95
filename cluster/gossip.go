package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/ndring/ndring/cluster/topology"
)

// DefaultGossipPort is that of seeds that are given without one.
const DefaultGossipPort = 7946

// gossip finds other nodes and notices when they go. What it sees it keeps in sights, and it wakes whoever listens.
type gossip struct {
	config *Config
	log    *slog.Logger
	list   *memberlist.Memberlist
	sights *sights
	end    sync.Once // of list
	host   string    // where others reach list
	port   int

	mu   sync.Mutex // guards self
	self meta
}

func newGossip(config *Config, self meta, s *sights) *gossip {
	return &gossip{config: config, log: config.Log, sights: s, self: self}
}

// memberName is unique for each start of a node: memberlist would not let a name that it knows come back with another address at once.
func memberName(id topology.NodeID, incarnation uint64) string {
	return string(id) + "/" + strconv.FormatUint(incarnation, 10)
}

func (g *gossip) open() error {
	bind, advertise, err := gossipAddresses(g.config.GossipBind)
	if err != nil {
		return fmt.Errorf("cannot listen for gossip: %w", err)
	}
	c := memberlist.DefaultLANConfig()
	c.Name = memberName(g.self.node, g.self.incarnation)
	c.BindAddr, c.BindPort = bind, g.config.GossipPort
	c.AdvertiseAddr, c.AdvertisePort = advertise, g.config.GossipPort
	c.ProbeInterval, c.ProbeTimeout = g.config.Timing.Probe, g.config.Timing.Probe/2
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 3
	c.GossipInterval = g.config.Timing.Probe / 2
	c.PushPullInterval = 10 * time.Second
	c.TCPTimeout = 2 * time.Second
	c.GossipToTheDeadTime = 30 * time.Second
	c.DeadNodeReclaimTime = time.Second
	c.SecretKey = g.config.GossipKey
	c.Logger = gossipLogger(g.log)
	c.Delegate, c.Events, c.Alive, c.Merge = g, g, g, g
	if g.list, err = memberlist.Create(c); err != nil {
		return fmt.Errorf("cannot listen for gossip on port %d: %w", g.config.GossipPort, err)
	}
	local := g.list.LocalNode() // memberlist writes to it later
	g.host, g.port = local.Addr.String(), int(local.Port)
	return nil
}

// gossipAddresses returns the IP addresses to bind to and to tell others.
func gossipAddresses(bind string) (listen, advertise string, err error) {
	ip := net.ParseIP(bind)
	if ip == nil && bind != "" {
		found, err := net.DefaultResolver.LookupIPAddr(context.Background(), bind)
		if err != nil {
			return "", "", err
		}
		ip = found[0].IP
	}
	if ip == nil {
		ip = net.IPv4zero
	}
	if !ip.IsUnspecified() {
		return ip.String(), ip.String(), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", "", err
	}
	var best net.IP
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
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() && rank(n.IP) > rank(best) {
			best = n.IP
		}
	}
	if best == nil {
		return "", "", errors.New("this machine has no address that others could reach")
	}
	return ip.String(), best.String(), nil
}

// address returns where others reach this node's gossip.
func (g *gossip) address() (host string, port int) { return g.host, g.port }

// tell changes what this node says of itself.
func (g *gossip) tell(change func(*meta)) error {
	g.mu.Lock()
	change(&g.self)
	g.mu.Unlock()
	if g.list == nil {
		return nil // nobody hears it yet
	}
	return g.list.UpdateNode(5 * time.Second)
}

// join tries addresses side by side. Foreign are those where a node of another cluster has answered, silent those where nobody has.
func (g *gossip) join(addresses []string) (answered int, foreign, silent []string, err error) {
	var mu sync.Mutex // guards the results
	var wait sync.WaitGroup
	for _, a := range addresses {
		wait.Go(func() {
			n, failure := g.list.Join([]string{withPort(a)})
			mu.Lock()
			defer mu.Unlock()
			answered += n
			if failure != nil {
				err = errors.Join(err, failure)
				switch {
				case strings.Contains(failure.Error(), foreignText): // memberlist passes on no more than the text
					foreign = append(foreign, a)
				case n == 0:
					silent = append(silent, a)
				}
			}
		})
	}
	wait.Wait()
	return answered, foreign, silent, err
}

// foreignText is in the error of a join that met a node of another cluster.
const foreignText = "is of another cluster"

// withPort completes a seed.
func withPort(seed string) string {
	if _, _, err := net.SplitHostPort(seed); err == nil {
		return seed
	}
	return net.JoinHostPort(strings.Trim(seed, "[]"), strconv.Itoa(DefaultGossipPort))
}

// leave tells the others that this node goes, so that they need not find out.
func (g *gossip) leave(wait time.Duration) (err error) {
	if g.list == nil {
		return nil
	}
	g.end.Do(func() {
		if err := g.list.Leave(wait); err != nil { // the others will find out
			g.log.Debug("the others may not have heard that this node goes", "err", err)
		}
		err = g.list.Shutdown()
	})
	return err
}

// NodeMeta implements memberlist.Delegate.
func (g *gossip) NodeMeta(int) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.self.encode()
}

// NotifyMsg implements memberlist.Delegate: there are no messages.
func (*gossip) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate: there are none.
func (*gossip) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate: there is none.
func (*gossip) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate: there is none.
func (*gossip) MergeRemoteState([]byte, bool) {}

// NotifyAlive implements memberlist.AliveDelegate: nodes of other clusters stay out.
func (g *gossip) NotifyAlive(n *memberlist.Node) error { return g.check(n) }

// NotifyMerge implements memberlist.MergeDelegate.
func (g *gossip) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if err := g.check(n); err != nil {
			return err
		}
	}
	return nil
}

func (g *gossip) check(n *memberlist.Node) error {
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return err
	}
	g.mu.Lock()
	own := g.self.cluster
	g.mu.Unlock()
	if own == "" || m.cluster == "" || own == m.cluster {
		return nil
	}
	address := n.FullAddress().Addr
	if g.sights.foreign(address, m) {
		g.log.Warn("a node of another cluster is kept out", "node", label(m.name, m.node), "address", address, "cluster", m.cluster, "ours", own)
	}
	return fmt.Errorf("node %s at %s %s: %s, this one is of %s", label(m.name, m.node), address, foreignText, m.cluster, own)
}

// NotifyJoin implements memberlist.EventDelegate.
func (g *gossip) NotifyJoin(n *memberlist.Node) { g.note(n, true) }

// NotifyUpdate implements memberlist.EventDelegate.
func (g *gossip) NotifyUpdate(n *memberlist.Node) { g.note(n, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (g *gossip) NotifyLeave(n *memberlist.Node) { g.note(n, false) }

func (g *gossip) note(n *memberlist.Node, alive bool) {
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return // it was let in by check before
	}
	host := n.Addr.String()
	g.sights.note(instance{
		meta: m, alive: alive, gossip: net.JoinHostPort(host, strconv.Itoa(int(n.Port))), bus: net.JoinHostPort(host, strconv.Itoa(int(m.busPort))),
	})
}
