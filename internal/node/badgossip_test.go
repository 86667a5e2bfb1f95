package node

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
)

// Types of memberlist's messages.
const (
	gossipPing, gossipIndirect, gossipAck, gossipSuspect, gossipAlive, gossipDead = 0, 1, 2, 3, 4, 5
	gossipPushPull, gossipCompound, gossipCRC                                     = 6, 7, 12
)

// packed returns a map in MessagePack. Values are int, string or bool.
func packed(fields ...any) []byte {
	b := []byte{0x80 | byte(len(fields)/2)}
	for _, v := range fields {
		switch v := v.(type) {
		case bool:
			b = append(b, map[bool]byte{false: 0xc2, true: 0xc3}[v])
		case int:
			b = binary.BigEndian.AppendUint64(append(b, 0xcf), uint64(v))
		case string:
			b = append(binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(len(v))), v...)
		}
	}
	return b
}

func gossiped(kind byte, fields ...any) []byte { return append([]byte{kind}, packed(fields...)...) }

// badGossip makes hostile gossip about a node of a cluster.
type badGossip struct {
	*rand.Rand
	self, cluster string
	incarnation   uint64
}

const gossipVersions = "\x01\x05\x02\x00\x00\x00"

// meta describes a node as package cluster gossips it.
func (g badGossip) meta(node, cluster string, incarnation uint64) string {
	b := make([]byte, 66)
	b[0] = 1
	id, _ := hex.DecodeString(node)
	copy(b[1:21], id)
	for i := 21; i < 37; i++ {
		b[i] = byte(g.IntN(256))
	}
	of, _ := hex.DecodeString(cluster)
	copy(b[37:53], of)
	binary.LittleEndian.PutUint64(b[53:], incarnation)
	binary.LittleEndian.PutUint16(b[61:], uint16(g.IntN(65536)))
	b[65] = 4
	return string(b) + "evil"
}

func (g badGossip) id() string { return fmt.Sprintf("%020x%020x", g.Uint64(), g.Uint64()) }

// member returns name and meta of a node: a stranger, or another incarnation of the target.
func (g badGossip) member() (name, meta string) {
	node, cluster, incarnation := g.id(), g.cluster, g.Uint64()>>20
	switch g.IntN(6) {
	case 0:
		node = g.self
	case 1:
		cluster = strings.Repeat("ab", 16)
	case 2:
		cluster = strings.Repeat("00", 16)
	}
	name = fmt.Sprintf("%s/%d", node, incarnation)
	if g.IntN(4) == 0 { // a name that says something else
		name = fmt.Sprintf("%s/%d", g.id(), g.IntN(100))
	}
	return name, g.meta(node, cluster, incarnation)
}

// message returns a message that is valid, at least in its form.
func (g badGossip) message() []byte {
	own := fmt.Sprintf("%s/%d", g.self, g.incarnation)
	name, meta := g.member()
	switch g.IntN(9) {
	case 0:
		return gossiped(gossipPing, "SeqNo", g.IntN(1000), "Node", own)
	case 1:
		return gossiped(gossipIndirect, "SeqNo", g.IntN(1000), "Target", "\x7f\x00\x00\x01", "Port", 1+g.IntN(100), "Node", name, "Nack", true)
	case 2:
		return gossiped(gossipAck, "SeqNo", g.IntN(1000), "Payload", "")
	case 3:
		return gossiped(gossipSuspect, "Incarnation", g.IntN(1000), "Node", own, "From", name)
	case 4:
		return gossiped(gossipDead, "Incarnation", g.IntN(1000), "Node", own, "From", []string{own, name}[g.IntN(2)])
	case 5:
		state := packed("Nodes", 2, "UserStateLen", 0, "Join", g.IntN(2) == 0)
		for range 2 {
			name, meta := g.member()
			state = append(state, packed("Name", name, "Addr", "\x7f\x00\x00\x01", "Port", 1+g.IntN(100), "Meta", meta, "Incarnation", g.IntN(1000), "State", g.IntN(4), "Vsn", gossipVersions)...)
		}
		return append([]byte{gossipPushPull}, state...)
	case 6:
		inner := gossiped(gossipSuspect, "Incarnation", g.IntN(1000), "Node", own, "From", name)
		b := []byte{gossipCompound, 3}
		for range 3 {
			b = binary.BigEndian.AppendUint16(b, uint16(len(inner)))
		}
		return append(b, bytes.Repeat(inner, 3)...)
	case 7:
		inner := gossiped(gossipDead, "Incarnation", 1<<30, "Node", own, "From", own)
		return append(binary.BigEndian.AppendUint32([]byte{gossipCRC}, crc32.ChecksumIEEE(inner)), inner...)
	}
	return gossiped(gossipAlive, "Incarnation", g.IntN(1000), "Node", name, "Addr", "\x7f\x00\x00\x01", "Port", 1+g.IntN(100), "Meta", meta, "Vsn", gossipVersions)
}

// spoiled returns a message as it is, or with faults.
func spoiled(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	switch r.IntN(9) {
	case 0, 1: // a few bytes changed
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.IntN(256))
		}
	case 2: // truncated
		b = b[:r.IntN(len(b))]
	case 3: // a length or another number that lies
		at := r.IntN(max(1, len(b)-4))
		copy(b[at:], []byte{0xff, 0xff, 0xff, 0x7f}[:min(4, len(b)-at)])
	case 4: // more than there should be
		b = append(b, bytes.Repeat([]byte{byte(r.IntN(256))}, 1+r.IntN(20_000))...)
	}
	return b
}

func noise(r *rand.Rand, most int) []byte {
	b := make([]byte, 1+r.IntN(most))
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return b
}
