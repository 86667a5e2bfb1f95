package bus

import (
	"fmt"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
)

// Identity is how a node identifies itself in a handshake.
type Identity struct {
	Cluster     uuid.UUID       // zero before the node belongs to a cluster
	Node        topology.NodeID // at most 40 visible ASCII characters
	Store       uuid.UUID       // of its data folder
	Incarnation uint64          // of this process start; it only rises
}

// same reports whether both identify the same process.
func (i Identity) same(other Identity) bool {
	return i.Node != "" && i.Node == other.Node && i.Store == other.Store && i.Incarnation == other.Incarnation
}

func (i Identity) String() string {
	return fmt.Sprintf("node %s store %s incarnation %d of cluster %s", orNone(string(i.Node)), orNone(i.Store.String()), i.Incarnation, orNone(i.Cluster.String()))
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// maxNode is the length of a node id on the wire.
const maxNode = 40

// validNode reports whether an id can be sent. It must not contain spaces or control characters,
// because other nodes log it unchanged.
func validNode(id topology.NodeID) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return len(id) <= maxNode
}

// Peer is the node at the other end of a connection, as the handshake identified it.
type Peer struct {
	Identity
	Address string // host:port that was dialled, or that the connection came from
	Version uint8  // of the protocol on this connection
	// Verified is true if a certificate proved the node id, and the cluster id of a member.
	Verified bool
}

// Guest reports whether the peer belongs to no cluster: it wants to join one, or to bootstrap one with others.
func (p Peer) Guest() bool { return p.Cluster.IsZero() }

// Target is the node to connect to.
type Target struct {
	Address string          // host:port
	Node    topology.NodeID // empty: any node
	Store   uuid.UUID       // zero: any store
}

// Kind is the purpose of a connection.
type Kind uint8

// The kinds.
const (
	KindControl   Kind = 1 // frames: requests and replies; the only kind for nodes without a cluster
	KindRaft      Kind = 2 // a byte stream, as are those that follow
	KindBulk      Kind = 3 // large values and whole copies of shards
	KindHeartbeat Kind = 4 // leases of primaries
	KindAppend    Kind = 5 // what primaries append, and acknowledgements
)

var kindNames = map[Kind]string{KindControl: "control", KindRaft: "raft", KindBulk: "bulk", KindHeartbeat: "heartbeat", KindAppend: "append"}

func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
