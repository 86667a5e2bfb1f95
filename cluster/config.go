package cluster

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Config says which node this is and how it finds the others.
type Config struct {
	Self         topology.Node // all but BusHost
	Shards       int           // of a cluster that is made here
	Replicas     int           // likewise: copies of each shard, the primary's included
	FirstEpoch   uint64        // likewise: versions that the folder knows are of lower ones
	HasData      bool          // the folder has arrays: it keeps them if a cluster of one is made of it, and gives no claim
	RaftState    string        // id of the raft state that the folder has (Host.SetRaftState); empty for none
	NewClusterID string        // id of a cluster of one; empty for a random one

	Join            []string // seeds, HOST[:PORT] of gossip
	BootstrapExpect int      // make a cluster together with so many nodes, this one included; 0 for never

	GossipBind string // address
	GossipPort int    // 0 lets the system choose
	GossipKey  []byte // 16, 24 or 32 bytes; nil: gossip is not encrypted

	RaftDir string // folder of raft's files, in one of their own for each store; empty: in memory
	Files   Files  // of the node's folder; nil: in memory

	Timing Timing
	Log    *slog.Logger
}

// Timing is how fast the cluster notices and decides. Zero values get the defaults.
type Timing struct {
	Heartbeat time.Duration // without word from its leader a follower asks for votes; default 300 ms
	Lease     time.Duration // without word from a majority a leader gives the lead away; default 200 ms
	Probe     time.Duration // each node looks after another one so often; default 200 ms
	Rejoin    time.Duration // how often known addresses are tried that gossip does not see; default 5 s
	Tick      time.Duration // of the controller, and of a node that waits to become part of a cluster; default 200 ms
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&t.Heartbeat, 300*time.Millisecond)
	set(&t.Lease, 200*time.Millisecond)
	set(&t.Probe, 200*time.Millisecond)
	set(&t.Rejoin, 5*time.Second)
	set(&t.Tick, 200*time.Millisecond)
	return t
}

// Files keeps small named files. Save returns when the file will survive the end of the machine.
type Files interface {
	Load(name string) ([]byte, error) // fs.ErrNotExist if there is none
	Save(name string, content []byte) error
}

// Method names a request between nodes.
type Method uint8

// The methods.
const (
	MethodClaim         Method = 1 // an asker wants a claim, or gives one back
	MethodFormed        Method = 2 // the cluster is made
	MethodJoin          Method = 3 // a node wants in, or has been started anew
	MethodPropose       Method = 4 // a command for the log
	MethodProbe         Method = 5 // nothing but the handshake
	MethodAwaitTopology Method = 6 // answered when the node routes by a topology or a later one
)

// Methods are all methods.
var Methods = []Method{MethodClaim, MethodFormed, MethodJoin, MethodPropose, MethodProbe, MethodAwaitTopology}

// Target is a node as its bus is dialled.
type Target struct {
	Address string          // host:port
	Node    topology.NodeID // empty: whoever answers
	Store   string          // empty: any
}

// Caller is the node that a request came from.
type Caller struct {
	Node        topology.NodeID
	Store       string
	Incarnation uint64
	Cluster     string // empty before it is part of one
}

// Bus is how a node reaches the others.
type Bus interface {
	// Dial opens a stream for raft.
	Dial(ctx context.Context, to Target) (net.Conn, error)
	// Call does a request. The error is an *RemoteError when the other node has answered with one, and wraps ErrNotSent when it was not asked; anything else
	// leaves open whether it was done.
	Call(ctx context.Context, to Target, m Method, payload []byte) ([]byte, error)
	// Probe asks who is at an address.
	Probe(ctx context.Context, address string) (Caller, error)
	// Renew has requests go over new connections from now on: those that were made from another address of this machine lead nowhere.
	Renew()
}

// ErrNotSent is returned by a Bus when a request has not reached anybody.
var ErrNotSent = errors.New("the node cannot be reached")

// RemoteError is an error that another node answered with.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return e.Text }

// Host is the process around a node. Its methods are called one at a time, but for AwaitTopology.
type Host interface {
	// SetClusterID records durably that the node's data folder belongs to a cluster.
	SetClusterID(cluster string) error
	// SetRaftState records durably the id of the raft state that the data folder has.
	SetRaftState(raftState string) error
	// Publish hands over a newer topology. It must not block.
	Publish(*topology.Topology)
	// AwaitTopology returns when the process routes by the topology of an index, or by a later one. It may be called at any time.
	AwaitTopology(ctx context.Context, index uint64) error
}

// memoryFiles are the Files of a node without a folder.
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
