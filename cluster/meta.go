package cluster

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
)

// meta is what gossip tells about a node besides its address.
type meta struct {
	node        topology.NodeID
	store       string // 32 hexadecimal digits
	cluster     string // 32 hexadecimal digits; empty for none
	incarnation uint64
	busPort     uint16
	expect      uint8 // --bootstrap-expect of a node without a cluster; 0 if it can only join one
	hasData     bool
	stopping    bool // the node is about to stop: it should get no shards
	format      int  // the latest format of a topology that the program knows; 0, of earlier programs, stands for topology.Format1
	name        string
}

/*
	0    1           21        37          53               61           63        64      65     66
	+----+-----------+---------+-----------+----------------+------------+---------+-------+------+------
	| 1  | node      | store   | cluster   | incarnation LE | bus port LE| expect  | flags | len  | name
	+----+-----------+---------+-----------+----------------+------------+---------+-------+------+------
*/

// Bits of flags.
const (
	flagData     = 1 << iota // hasData
	flagStopping             // stopping
)

// The higher bits of flags are format. Earlier programs send zeros and ignore what they get, but they refuse a meta of another version
// or length: whatever is added has to fit into bits that they ignore.
const (
	formatShift = 2
	maxFormat   = 1<<(8-formatShift) - 1
)

const (
	metaVersion = 1
	metaFixed   = 66
	maxName     = 64
	idDigits    = 40
)

var errMeta = errors.New("gossip from a program other than ndring, or from another version of it")

func (m *meta) encode() []byte {
	b := make([]byte, metaFixed, metaFixed+len(m.name))
	b[0] = metaVersion
	decodeHex(b[1:21], string(m.node))
	decodeHex(b[21:37], m.store)
	decodeHex(b[37:53], m.cluster)
	binary.LittleEndian.PutUint64(b[53:], m.incarnation)
	binary.LittleEndian.PutUint16(b[61:], m.busPort)
	b[63] = m.expect
	if m.hasData {
		b[64] |= flagData
	}
	if m.stopping {
		b[64] |= flagStopping
	}
	b[64] |= byte(min(m.format, maxFormat) << formatShift)
	b[65] = byte(len(m.name))
	return append(b, m.name...)
}

// decodeHex fills b from digits, and leaves it zero if they are malformed or of another length.
func decodeHex(b []byte, digits string) {
	if len(digits) != 2*len(b) {
		return
	}
	if _, err := hex.Decode(b, []byte(digits)); err != nil {
		clear(b)
	}
}

func decodeMeta(b []byte) (m meta, err error) {
	if len(b) < metaFixed || b[0] != metaVersion || len(b) != metaFixed+int(b[65]) || b[65] > maxName {
		return m, errMeta
	}
	m.node = topology.NodeID(hex.EncodeToString(b[1:21]))
	m.store = hex.EncodeToString(b[21:37])
	m.cluster = uuid.UUID(b[37:53]).String()
	m.incarnation = binary.LittleEndian.Uint64(b[53:])
	m.busPort = binary.LittleEndian.Uint16(b[61:])
	m.expect, m.hasData, m.stopping, m.name = b[63], b[64]&flagData != 0, b[64]&flagStopping != 0, string(b[66:])
	m.format = int(b[64] >> formatShift)
	return m, nil
}

// serverID is both the name and the address of a node in raft. A copy of the log belongs to one
// node and one store.
func serverID(node topology.NodeID, store string) string { return string(node) + "/" + store }

func parseServerID(id string) (node topology.NodeID, store string, err error) {
	if len(id) != idDigits+1+uuid.Digits || id[idDigits] != '/' {
		return "", "", fmt.Errorf("%.80q is not a server id", id)
	}
	return topology.NodeID(id[:idDigits]), id[idDigits+1:], nil
}

// isStore reports whether a name is the id of a store.
func isStore(name string) bool {
	_, err := uuid.Parse(name)
	return err == nil
}
