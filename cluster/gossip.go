package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/ndring/ndring/cluster/screen"
	"github.com/ndring/ndring/cluster/topology"
)

// DefaultGossipPort is the port of a seed given without one.
const DefaultGossipPort = 7946

// gossip finds other nodes and notices failures. It records what it sees in members.
type gossip struct {
	config  *Config
	log     *slog.Logger
	members *members
	keys    *keyring     // nil: gossip is not encrypted
	refused atomic.Int64 // messages that screen refused
	bind    net.IP       // to listen on
	first   net.IP       // address that others were told when the node started
	end     sync.Once    // shuts list down

	sending sync.Mutex // held while others are told something or list is replaced; taken before mu

	mu    sync.Mutex // guards all below
	self  meta
	list  *memberlist.Memberlist // nil while gossip is not running
	host  string                 // at which others reach list
	port  int
	moves int // how often host has changed
}

func newGossip(config *Config, m *members) *gossip {
	self := config.Self
	return &gossip{config: config, log: config.Log, members: m, self: meta{
		node: self.ID, store: self.Store, incarnation: self.Incarnation, busPort: uint16(self.BusPort),
		expect: uint8(min(config.BootstrapExpect, 255)), hasData: config.HasData, name: self.Name, format: topology.LatestFormat,
	}}
}

// memberName differs for each incarnation of a node and for each address that it has had:
// memberlist would reject a known name at a new address until it has given up the old one.
func memberName(id topology.NodeID, incarnation uint64, moves int) string {
	name := string(id) + "/" + strconv.FormatUint(incarnation, 10)
	if moves > 0 {
		name += "/" + strconv.Itoa(moves)
	}
	return name
}

// movesIn returns how often a member had changed its address when it took this name.
func movesIn(name string) int {
	parts := strings.Split(name, "/")
	if len(parts) < 3 {
		return 0
	}
	n, _ := strconv.Atoi(parts[2])
	return n
}

func (g *gossip) open() error {
	var err error
	if g.keys, err = newKeyring(g.config.GossipKeys); err != nil {
		return fmt.Errorf("cannot use the gossip key: %w", err)
	}
	if g.bind, err = bindIP(g.config.GossipBind); err == nil {
		g.first, err = advertisedIP(g.bind)
	}
	if err != nil {
		return fmt.Errorf("cannot listen for gossip: %w", err)
	}
	return g.listen(g.first, g.config.GossipPort, 0)
}

// listen starts gossip that others reach at the advertised address.
func (g *gossip) listen(advertise net.IP, port, moves int) error {
	c := memberlist.DefaultLANConfig()
	c.Name = memberName(g.self.node, g.self.incarnation, moves)
	c.BindAddr, c.BindPort = g.bind.String(), port
	c.AdvertiseAddr, c.AdvertisePort = advertise.String(), port
	c.ProbeInterval, c.ProbeTimeout = g.config.Timing.Probe, g.config.Timing.Probe/2
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 3
	c.GossipInterval = g.config.Timing.Probe / 2
	c.PushPullInterval = 10 * time.Second
	c.TCPTimeout = 2 * time.Second
	c.GossipToTheDeadTime = 30 * time.Second
	c.DeadNodeReclaimTime = time.Second
	if g.keys != nil {
		c.Keyring = g.keys.ring
	}
	c.Logger = gossipLogger(g.log)
	c.Delegate, c.Events, c.Alive, c.Merge = g, listEvents{g, moves}, g, g
	transport, err := g.transport(c.BindAddr, port, screen.Options{Secret: g.keys != nil, Logger: c.Logger, Log: g.log, Refused: &g.refused})
	if err != nil {
		if strings.Contains(err.Error(), "address already in use") { // memberlist passes on only the text
			err = fmt.Errorf("%w: another process, perhaps another node, uses it; choose another port with --gossip-port, or 0 for any", err)
		}
		return fmt.Errorf("cannot listen for gossip (--gossip-port): %w", err)
	}
	c.Transport, c.BindPort, c.AdvertisePort = transport, transport.Port(), transport.Port()
	list, err := memberlist.Create(c)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot start gossip: %w", err), transport.Shutdown())
	}
	local := list.LocalNode() // memberlist writes to it later
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list, g.host, g.port = list, local.Addr.String(), int(local.Port)
	return nil
}

// transport opens the gossip port.
func (g *gossip) transport(bind string, port int, options screen.Options) (*screen.Transport, error) {
	if g.config.GossipNetwork == nil {
		return screen.Listen(bind, port, options)
	}
	inner, err := g.config.GossipNetwork(bind, port)
	if err != nil {
		return nil, err
	}
	return screen.Wrap(inner, options), nil
}

// current returns the running list; nil while gossip is not running.
func (g *gossip) current() *memberlist.Memberlist {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list
}

// address returns where others reach this node's gossip.
func (g *gossip) address() (host string, port int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.host, g.port
}

// tellTime bounds how long gossip takes to send what has changed.
const tellTime = 5 * time.Second

// tell changes what this node tells about itself, and returns when that is sent or the time is over.
func (g *gossip) tell(limit time.Duration, change func(*meta)) error {
	g.sending.Lock()
	defer g.sending.Unlock()
	g.mu.Lock()
	change(&g.self)
	list := g.list
	g.mu.Unlock()
	if list == nil {
		return nil // listen will tell
	}
	return list.UpdateNode(limit)
}

// join contacts addresses concurrently. At the foreign ones a node of another cluster answered, at
// the silent ones no node did.
func (g *gossip) join(addresses []string) (answered int, foreign, silent []string, err error) {
	list := g.current()
	if list == nil {
		return 0, nil, addresses, errNoAddressHere
	}
	var mu sync.Mutex // guards the results
	var wait sync.WaitGroup
	for _, a := range addresses {
		wait.Go(func() {
			n, failure := list.Join([]string{withPort(a)})
			mu.Lock()
			defer mu.Unlock()
			answered += n
			if failure != nil {
				err = errors.Join(err, failure)
				switch {
				case strings.Contains(failure.Error(), foreignText): // memberlist passes on only the text
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

// foreignText is part of the error of a join that reached a node of another cluster.
const foreignText = "belongs to another cluster"

// withPort adds the default port to a seed without one.
func withPort(seed string) string {
	if _, _, err := net.SplitHostPort(seed); err == nil {
		return seed
	}
	return net.JoinHostPort(strings.Trim(seed, "[]"), strconv.Itoa(DefaultGossipPort))
}

// leave tells the others that this node leaves, which saves them the time to notice, and ends gossip.
func (g *gossip) leave(wait time.Duration) (err error) {
	list := g.current()
	if list == nil {
		return nil
	}
	g.end.Do(func() {
		if err := list.Leave(wait); err != nil { // the others will notice
			g.log.Debug("not all nodes were told that this node leaves", "err", err)
		}
		err = list.Shutdown()
	})
	return err
}

// NodeMeta implements memberlist.Delegate.
func (g *gossip) NodeMeta(int) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.self.encode()
}

// NotifyMsg implements memberlist.Delegate: unused, since nodes gossip only their meta.
func (*gossip) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate: unused.
func (*gossip) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate: unused.
func (*gossip) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate: unused.
func (*gossip) MergeRemoteState([]byte, bool) {}

// NotifyAlive implements memberlist.AliveDelegate: it rejects nodes of other clusters.
func (g *gossip) NotifyAlive(n *memberlist.Node) error { return g.check(n) }

// NotifyMerge implements memberlist.MergeDelegate: it rejects a merge with nodes of other clusters.
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
	if g.members.observeForeign(address, m) {
		g.log.Warn("rejected a node of another cluster", "node", topology.Label(m.name, m.node), "address", address, "cluster", m.cluster, "ours", own)
	}
	return fmt.Errorf("node %s at %s %s: %s, not %s", topology.Label(m.name, m.node), address, foreignText, m.cluster, own)
}

// listEvents passes on what one memberlist reports.
type listEvents struct {
	*gossip
	moves int // gossip.moves when the list started
}

// NotifyJoin implements memberlist.EventDelegate.
func (e listEvents) NotifyJoin(n *memberlist.Node) { e.observe(n, true) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e listEvents) NotifyUpdate(n *memberlist.Node) { e.observe(n, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (e listEvents) NotifyLeave(n *memberlist.Node) { e.observe(n, false) }

// observe ignores a list that has been replaced: its late reports would never be corrected.
func (e listEvents) observe(n *memberlist.Node, alive bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.moves == e.gossip.moves {
		e.gossip.observe(n, alive)
	}
}

func (g *gossip) observe(n *memberlist.Node, alive bool) {
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return // check rejects such nodes
	}
	host := n.Addr.String()
	g.members.observe(incarnation{
		meta: m, moves: movesIn(n.Name), alive: alive,
		gossip: net.JoinHostPort(host, strconv.Itoa(int(n.Port))), bus: net.JoinHostPort(host, strconv.Itoa(int(m.busPort))),
	})
}
