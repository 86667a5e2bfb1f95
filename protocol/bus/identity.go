package bus

import (
	"fmt"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
)

// Identity is what a node says of itself in a handshake.
type Identity struct {
	Cluster     uuid.UUID       // none before the node is in a cluster
	Node        topology.NodeID // at most 40 visible ASCII characters
	Store       uuid.UUID       // its data folder
	Incarnation uint64          // higher at each start
}

// same tells whether it is the same process.
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

// maxNode is the length of a node's id on the wire.
const maxNode = 40

// validNode tells whether an id can be sent: it goes into logs of others as it is, so that it has no spaces and no control characters.
func validNode(id topology.NodeID) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return len(id) <= maxNode
}

// Peer is who is at the other end of a connection, as the handshake told.
type Peer struct {
	Identity
	Address string // host:port: as it was dialled, or where it came from
	Version uint8  // of the protocol that both speak
	// Verified says that a certificate proved the node's id, and that id of a cluster which it names.
	Verified bool
}

// Guest tells whether the peer is in no cluster: one that looks for a cluster to join, or for others to make one with.
func (p Peer) Guest() bool { return p.Cluster.IsZero() }

// Target is whom to connect to.
type Target struct {
	Address string          // host:port
	Node    topology.NodeID // whoever answers, when empty
	Store   uuid.UUID       // any, when none
}

// Kind is what a connection is for.
type Kind uint8

// The kinds.
const (
	KindControl Kind = 1 // requests and replies in frames; the only one for nodes without a cluster
	KindRaft    Kind = 2 // a stream
	KindBulk    Kind = 3 // frames: values that are copied
	KindBeacon  Kind = 4 // frames: who lives
)

var kindNames = map[Kind]string{KindControl: "control", KindRaft: "raft", KindBulk: "bulk", KindBeacon: "beacon"}

func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
