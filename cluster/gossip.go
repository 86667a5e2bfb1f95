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

// DefaultGossipPort is that of seeds that are given without one.
const DefaultGossipPort = 7946

// gossip finds other nodes and notices when they go. What it sees it keeps in sights, and it wakes whoever listens.
type gossip struct {
	config  *Config
	log     *slog.Logger
	sights  *sights
	refused *atomic.Int64 // messages that the screens have kept out
	bind    net.IP        // to listen on
	first   net.IP        // where others reached the node when it started
	end     sync.Once     // of list

	turn sync.Mutex // held while something is told to others, or list is replaced; before mu

	mu    sync.Mutex // guards all below
	self  meta
	list  *memberlist.Memberlist // nil while nobody can be heard
	host  string                 // where others reach list
	port  int
	moves int // how often host has changed
}

func newGossip(config *Config, self meta, s *sights) *gossip {
	return &gossip{config: config, log: config.Log, sights: s, self: self, refused: new(atomic.Int64)}
}

// memberName is unique for each start of a node, and for each address that it has had since: memberlist would not let a name that it knows come back with another address at once.
func memberName(id topology.NodeID, incarnation uint64, moves int) string {
	name := string(id) + "/" + strconv.FormatUint(incarnation, 10)
	if moves > 0 {
		name += "/" + strconv.Itoa(moves)
	}
	return name
}

// movesIn returns how often a member had changed its address when it took a name.
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
	if g.bind, err = bindIP(g.config.GossipBind); err == nil {
		g.first, err = advertised(g.bind)
	}
	if err != nil {
		return fmt.Errorf("cannot listen for gossip: %w", err)
	}
	return g.listen(g.first, g.config.GossipPort, 0)
}

// listen starts gossip that others reach at an address.
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
	c.SecretKey = g.config.GossipKey
	c.Logger = gossipLogger(g.log)
	c.Delegate, c.Events, c.Alive, c.Merge = g, events{g, moves}, g, g
	transport, err := screen.Listen(c.BindAddr, port, screen.Options{Secret: c.SecretKey != nil, Logger: c.Logger, Log: g.log, Refused: g.refused})
	if err != nil {
		if strings.Contains(err.Error(), "address already in use") { // memberlist passes on no more than the text
			err = fmt.Errorf("%w: another process has it, perhaps another node; give another port with --gossip-port, or 0 for any", err)
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

// current returns what gossips now; nil while nothing does.
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

// tell changes what this node says of itself.
func (g *gossip) tell(change func(*meta)) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	change(&g.self)
	list := g.list
	g.mu.Unlock()
	if list == nil {
		return nil // nobody hears it yet
	}
	return list.UpdateNode(5 * time.Second)
}

// join tries addresses side by side. Foreign are those where a node of another cluster has answered, silent those where nobody has.
func (g *gossip) join(addresses []string) (answered int, foreign, silent []string, err error) {
	list := g.current()
	if list == nil {
		return 0, nil, addresses, errors.New("this machine has no address that others could reach")
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
	list := g.current()
	if list == nil {
		return nil
	}
	g.end.Do(func() {
		if err := list.Leave(wait); err != nil { // the others will find out
			g.log.Debug("the others may not have heard that this node goes", "err", err)
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

// events are what one start of gossip tells.
type events struct {
	*gossip
	moves int // what they were when it started
}

// NotifyJoin implements memberlist.EventDelegate.
func (e events) NotifyJoin(n *memberlist.Node) { e.note(n, true) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e events) NotifyUpdate(n *memberlist.Node) { e.note(n, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (e events) NotifyLeave(n *memberlist.Node) { e.note(n, false) }

// note passes on what the present start of gossip tells. What an earlier one still tells nobody would ever correct.
func (e events) note(n *memberlist.Node, alive bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.moves == e.gossip.moves {
		e.gossip.note(n, alive)
	}
}

func (g *gossip) note(n *memberlist.Node, alive bool) {
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return // it was let in by check before
	}
	host := n.Addr.String()
	g.sights.note(instance{
		meta: m, moves: movesIn(n.Name), alive: alive, gossip: net.JoinHostPort(host, strconv.Itoa(int(n.Port))), bus: net.JoinHostPort(host, strconv.Itoa(int(m.busPort))),
	})
}
