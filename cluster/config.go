package cluster

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/screen"
	"github.com/ndring/ndring/cluster/topology"
)

// Config says which node this is and how it finds the others.
type Config struct {
	Self         topology.Node // all but BusHost
	Shards       int           // in a cluster that this node bootstraps
	Replicas     int           // copies of each shard, the primary included, in a cluster that this node bootstraps
	FirstEpoch   uint64        // lowest epoch in a cluster that this node bootstraps; above all versions in the data folder
	HasData      bool          // the data folder has arrays: the node keeps them in a cluster of one, and grants no claim
	RaftState    string        // id that Host.SetRaftState recorded; empty for none
	NewClusterID string        // for a cluster of one; empty for a random id
	OnlyCluster  string        // id of the only cluster that the node may belong to, which it may also bootstrap; empty: any

	Join            []string // seeds: HOST[:PORT] of gossip
	BootstrapExpect int      // bootstrap a cluster of this many nodes, this one included; 0: never

	GossipBind string   // address
	GossipPort int      // 0: the system chooses
	GossipKeys [][]byte // 16, 24 or 32 bytes each: the first encrypts, all decrypt; nil: gossip is not encrypted

	// GossipNetwork opens the gossip port; nil: sockets of the machine.
	GossipNetwork func(bind string, port int) (screen.Network, error)

	RaftDir    string            // holds one folder of raft's files per store; empty: in memory
	RaftStores func() RaftStores // without a RaftDir: what raft keeps in memory; nil: new stores
	Files      Files             // in the node's data folder; nil: in memory

	Start       Start
	Removed     func(topology.NodeID) bool // whether a node was removed and may not come back; nil: a later incarnation may
	Always      func() bool                // the setting appendfsync is always; nil: no
	Weight      func() int                 // the setting weight; nil: topology.DefaultWeight
	EmptyShards func() string              // the setting empty-shards, one of topology's values; nil: auto
	Moves       func() Moves               // the settings about moves; nil: the defaults

	Timing Timing
	Log    *slog.Logger
}

// Start is what the data folder says about this start of the node.
type Start struct {
	Starts   []uint64 `json:"starts,omitempty"`   // as in topology.Op
	Unclean  bool     `json:"unclean,omitempty"`  // the copies may lack what the node acknowledged
	Lossy    bool     `json:"lossy,omitempty"`    // they may lack even what was synced
	SameLock bool     `json:"sameLock,omitempty"` // boot and lock file are those of the last start, whose process has ended
}

// fill sets what a node without a data folder or without a choice leaves out.
func (c *Config) fill() {
	if c.Files == nil {
		c.Files = &memoryFiles{}
	}
	if c.Always == nil {
		c.Always = func() bool { return false }
	}
	if c.Weight == nil {
		c.Weight = func() int { return topology.DefaultWeight }
	}
	if c.Moves == nil {
		c.Moves = func() Moves { return DefaultMoves }
	}
	if c.EmptyShards == nil {
		c.EmptyShards = func() string { return topology.EmptyAuto }
	}
}

// Moves are the settings about moves.
type Moves struct {
	Rebalance string // one of topology's values
	Paused    bool
	// ReplaceAfter is how long a node is dead before other nodes get its copies; 0: for ever.
	ReplaceAfter time.Duration
}

// DefaultMoves are the defaults.
var DefaultMoves = Moves{Rebalance: topology.RebalanceAuto, ReplaceAfter: 30 * time.Second}

// Timing is how fast the cluster notices and decides. Zero values get the defaults.
type Timing struct {
	Heartbeat time.Duration // a follower that hears nothing from its leader for this long starts an election; default 300 ms
	Lease     time.Duration // a leader that cannot reach a majority for this long steps down; at most Heartbeat, which is the default
	Probe     time.Duration // interval at which gossip probes another node; default 200 ms
	Rejoin    time.Duration // interval at which known addresses that gossip does not see are tried; default 5 s
	Tick      time.Duration // of the controller, and of a node that is not ready yet; default 200 ms
	// BeginEmpty is how long a node is back with another data folder before shards whose last copy it had
	// may begin empty; default topology.EmptyAfter.
	BeginEmpty time.Duration
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&t.Heartbeat, 300*time.Millisecond)
	set(&t.Lease, t.Heartbeat) // less gains nothing: the others elect no leader before Heartbeat has passed
	set(&t.Probe, 200*time.Millisecond)
	set(&t.Rejoin, 5*time.Second)
	set(&t.Tick, 200*time.Millisecond)
	set(&t.BeginEmpty, topology.EmptyAfter*time.Millisecond)
	return t
}

// Files keeps small named files. Save returns when the file survives a crash of the machine.
type Files interface {
	Load(name string) ([]byte, error) // fs.ErrNotExist if the file is missing
	Save(name string, content []byte) error
}

// Method names a request between nodes.
type Method uint8

// The methods.
const (
	MethodClaim         Method = 1 // a coordinator wants or releases a claim, or a member asks what became of its claim
	MethodFormed        Method = 2 // the coordinator has formed the cluster
	MethodJoin          Method = 3 // a node, or a new incarnation of one, wants to be admitted
	MethodPropose       Method = 4 // a command for the log
	MethodProbe         Method = 5 // the handshake alone
	MethodAwaitTopology Method = 6 // answered when the node routes by a given topology or a later one
	MethodReport        Method = 7 // the caller's copies hear no primary of some shards
	MethodTransfer      Method = 8 // the caller wants to be the primary of shards of which it has copies
	MethodLoad          Method = 9 // what room the node has, and how large its shards are
)

// Methods are all methods.
var Methods = []Method{MethodClaim, MethodFormed, MethodJoin, MethodPropose, MethodProbe, MethodAwaitTopology, MethodReport, MethodTransfer, MethodLoad}

// Target says how to dial a node's bus and who has to answer.
type Target struct {
	Address string          // host:port
	Node    topology.NodeID // empty: any node
	Store   string          // empty: any store
}

// Caller is the node that sent a request.
type Caller struct {
	Node        topology.NodeID
	Store       string
	Incarnation uint64
	Cluster     string // empty before the node belongs to one
}

// Bus is how a node reaches the others.
type Bus interface {
	// Dial opens a stream for raft.
	Dial(ctx context.Context, to Target) (net.Conn, error)
	// Call sends a request and returns the reply. The error is a *RemoteError if the other node
	// answered with one, and wraps ErrNotSent if the request was not sent. After any other error
	// the request may or may not have been handled.
	Call(ctx context.Context, to Target, m Method, payload []byte) ([]byte, error)
	// Probe asks who is at an address.
	Probe(ctx context.Context, address string) (Caller, error)
	// Renew makes further requests use new connections. Those made from an address that this
	// machine has lost are dead.
	Renew()
}

// ErrNotSent is returned by a Bus when a request did not reach the other node.
var ErrNotSent = errors.New("the node cannot be reached")

// RemoteError is an error with which another node answered.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return e.Text }

// Host is the process around a node. Its methods are called one at a time, except AwaitTopology, Transfer, Load and Fail.
type Host interface {
	// SetClusterID records durably that the node's data folder belongs to a cluster.
	SetClusterID(cluster string) error
	// SetRaftState records durably the id of the raft state that the data folder has.
	SetRaftState(id string) error
	// Publish passes on a newer topology. It must not block.
	Publish(*topology.Topology)
	// Joined says that the cluster has decided that this start of the node is a member. It is called
	// once.
	Joined()
	// Fail says that the node must stop, and why. It must not block.
	Fail(err error)
	// AwaitTopology returns when the process routes by the topology of an index or a later one. It
	// may be called at any time.
	AwaitTopology(ctx context.Context, index uint64) error
	// Transfer hands shards over to a process that has copies of them and has asked for that, and returns an error for each
	// that is not handed over. It may be called at any time.
	Transfer(ctx context.Context, to topology.NodeID, incarnation uint64, shards []topology.ShardID) []error
	// Load returns what room the node has, and what its shards have. It may be called at any time.
	Load() topology.Load
}

// memoryFiles are the Files of a node without a data folder.
type memoryFiles struct {
	mu    sync.Mutex // guards files
	files map[string][]byte
}

func (m *memoryFiles) Load(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.files[name]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memoryFiles) Save(name string, content []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[string][]byte{}
	}
	m.files[name] = content
	return nil
}
