package node

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/protocol/bus"
)

// badBus makes hostile input for the bus port of a node of a cluster.
type badBus struct {
	*rand.Rand
	cluster string
}

// hello is the first message of a connection, as package bus describes it.
func (g badBus) hello(kind bus.Kind, cluster, node string) []byte {
	b := append([]byte("NDRB"), 1, 1, 1, byte(kind), 0, 0, 0, 0)
	id, _ := hex.DecodeString(cluster)
	b = append(b, append(id, make([]byte, 16)...)[:16]...)
	b = append(b, append([]byte(node), make([]byte, 40)...)[:40]...)
	b = append(b, noise(g.Rand, 16)...)
	b = append(b, make([]byte, 12+16+40+16+8-len(b))...)
	binary.LittleEndian.PutUint64(b[len(b)-8:], g.Uint64()>>20)
	b = append(b, make([]byte, 40+16)...) // any node, any store
	return sealedHello(b)
}

// sealedHello corrects length and checksum.
func sealedHello(b []byte) []byte {
	if len(b) >= 12 {
		binary.LittleEndian.PutUint16(b[8:], uint16(len(b)-12+4))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func (g badBus) node() string { return fmt.Sprintf("%020x%020x", g.Uint64(), g.Uint64()) }

// payload is what a request to package cluster may look like.
func (g badBus) payload() []byte {
	some := []string{
		`{}`, `null`, `[]`, `0`, `{"ops":[]}`, `{"ops":[{"kind":"nosuch"}]}`, `{"ops":{}}`, `{"ops":[null]}`, strings.Repeat("[", 10_000), strings.Repeat(`{"ops":`, 5_000),
		`{"node":{"id":"` + g.node() + `","store":"x"},"shards":16}`, `{"node":{"id":"","listeners":null},"forwarded":true,"shards":-1}`, `{"forwarded":true,"shards":9999999999999999999999}`,
		`{"claim":{"coordinator":"` + g.node() + `"},"question":true}`, `{"claim":{},"release":true}`, `[1,2,3]`, `[-1]`, `[99999999999]`, `["x"]`,
		"\x00\x00\x00\x00\x00\x00\x00\x01", "\xff\xff\xff\xff\xff\xff\xff\xff", string(make([]byte, 28)), strings.Repeat("\xff", 28*3), string(noise(g.Rand, 2000)),
	}
	return spoiled(g.Rand, []byte(some[g.IntN(len(some))]))
}

// requests are frames for a control connection.
func (g badBus) requests() (b []byte) {
	methods := append([]cluster.Method{0, 10, 99, 255}, cluster.Methods...)
	for range 1 + g.IntN(5) {
		f := bus.Frame{Type: uint8(methods[g.IntN(len(methods))]), Request: g.Uint64N(4), Payload: append(binary.LittleEndian.AppendUint32(nil, uint32(g.IntN(50))), g.payload()...)}
		switch g.IntN(6) {
		case 0:
			f.Flags = uint8(1 << g.IntN(8))
		case 1:
			f.Payload = f.Payload[:g.IntN(4)]
		}
		b = bus.AppendFrame(b, f)
	}
	return b
}

// frames are for the connections of package replication: their kinds and numbers are random, and checksums are right.
func (g badBus) frames() (b []byte) {
	for range 1 + g.IntN(5) {
		head := noise(g.Rand, 60)
		b = append(b, head...)
		b = bus.AppendFrame(b, bus.Frame{Type: uint8(g.IntN(16)), Flags: uint8(g.IntN(4)), Shard: g.Uint32N(32), Epoch: g.Uint64N(4), Request: g.Uint64N(4), Payload: noise(g.Rand, 500)})
	}
	return b
}

// raftRequest is a request of raft with lengths that lie.
func (g badBus) raftRequest() []byte {
	b := []byte{byte(g.IntN(6))}
	fields := packed("RPCHeader", "", "Term", g.IntN(1000), "Leader", g.node(), "Entries", string(noise(g.Rand, 100)))
	switch g.IntN(3) {
	case 0:
		return append(b, 0xdf, 0x7f, 0xff, 0xff, 0xff) // a map of two thousand million entries
	case 1:
		return append(append(b, 0x81), append([]byte("\xa7Entries\xdd\x7f\xff\xff\xff"), noise(g.Rand, 100)...)...)
	}
	return append(b, spoiled(g.Rand, fields)...)
}

// input returns what one connection sends.
func (g badBus) input() []byte {
	who := []string{g.cluster, "", strings.Repeat("ab", 16)}[g.IntN(3)]
	kind := bus.Kind(1 + g.IntN(6))
	hello := g.hello(kind, who, g.node())
	switch g.IntN(10) {
	case 0:
		return spoiled(g.Rand, hello)
	case 1: // damaged before the checksum
		b := spoiled(g.Rand, hello[:len(hello)-4])
		return sealedHello(b)
	case 2:
		return noise(g.Rand, 3000)
	case 3:
		return append(hello, noise(g.Rand, 3000)...)
	case 4:
		return append(hello, hello...)
	case 5:
		return append(g.hello(bus.KindControl, []string{g.cluster, ""}[g.IntN(2)], g.node()), g.requests()...)
	case 6:
		return append(g.hello(bus.KindControl, g.cluster, g.node()), spoiled(g.Rand, g.requests())...)
	case 7:
		return append(g.hello(bus.KindRaft, g.cluster, g.node()), g.raftRequest()...)
	case 8:
		return append(g.hello([]bus.Kind{bus.KindAppend, bus.KindHeartbeat, bus.KindBulk}[g.IntN(3)], g.cluster, g.node()), g.frames()...)
	}
	flood := g.hello(bus.KindControl, []string{g.cluster, ""}[g.IntN(2)], g.node())
	one := bus.AppendFrame(nil, bus.Frame{Type: uint8(cluster.MethodProbe), Flags: []uint8{0, 4, 8}[g.IntN(3)], Request: 7, Payload: make([]byte, 4)})
	return append(flood, bytes.Repeat(one, 300)...)
}
