package screen

import (
	"bytes"
	"compress/lzw"
	"fmt"
	"math"
	"net"
	"slices"

	"github.com/hashicorp/memberlist"
)

// The types of memberlist's messages (net.go, where they are not exported).
const (
	typePing = iota
	typeIndirectPing
	typeAck
	typeSuspect
	typeAlive
	typeDead
	typePushPull
	typeCompound
	typeUser // nodes of ndring send none
	typeCompressed
	typeEncrypted
	typeNack
	typeCRC
	typeError
)

const (
	maxName     = 128     // of a member: id, incarnation and moves
	maxDatagram = 8 << 10 // nodes send up to 1400 bytes
	maxStream   = 2 << 20 // the state of some 6000 members, the dead of the last 30 s included
	maxState    = 8192    // of one state
	maxError    = 4 << 10 // the text of an error
	cipherExtra = 64      // what encryption adds to a message
)

var (
	number32 = integer(math.MaxUint32)
	port     = integer(math.MaxUint16)
	name     = text(maxName)
)

// memberName is the name of a member that memberlist would remember.
func memberName(s *source, lead byte) error {
	b, err := s.text(lead, maxName)
	if err == nil && s.names != nil {
		*s.names = append(*s.names, string(b))
	}
	return err
}

// address is an IP address.
func address(s *source, lead byte) error {
	b, err := s.text(lead, net.IPv6len)
	if err == nil && len(b) != net.IPv4len && len(b) != net.IPv6len {
		return fmt.Errorf("is not an IP address")
	}
	return err
}

// noAddress is an IP address that may be left empty.
func noAddress(s *source, lead byte) error {
	if lead == 0xc0 || lead == 0xa0 {
		return nil
	}
	return address(s, lead)
}

// versions are the six of a member: lowest, highest and current of the protocol, then of the delegate.
func versions(s *source, lead byte) error {
	v, err := s.text(lead, 6)
	if err == nil && (len(v) != 6 || v[0] == 0 || v[0] > v[2] || v[2] > v[1] || v[3] > v[5] || v[5] > v[4]) {
		return fmt.Errorf("%v are not the versions of a member", v)
	}
	return err
}

// objects are the bodies of messages that have one map.
var objects = map[byte]object{
	typePing: {"SeqNo": number32, "Node": name, "SourceAddr": noAddress, "SourcePort": port, "SourceNode": name},
	typeIndirectPing: {"SeqNo": number32, "Target": address, "Port": port, "Node": name, "Nack": boolean,
		"SourceAddr": noAddress, "SourcePort": port, "SourceNode": name},
	typeAck:     {"SeqNo": number32, "Payload": text(0)},
	typeNack:    {"SeqNo": number32},
	typeSuspect: {"Incarnation": number32, "Node": name, "From": name},
	typeDead:    {"Incarnation": number32, "Node": name, "From": name},
	typeAlive: {"Incarnation": number32, "Node": memberName, "Addr": address, "Port": port, "Meta": text(memberlist.MetaMaxSize),
		"Vsn": versions},
	typeError: {"Error": text(maxError)},
}

// member is one node of a state.
var member = object{"Name": memberName, "Addr": address, "Port": port, "Meta": text(memberlist.MetaMaxSize), "Incarnation": number32,
	"State": integer(uint64(memberlist.StateLeft)), "Vsn": versions}

// Which messages come where.
var (
	inDatagrams = []byte{typePing, typeIndirectPing, typeAck, typeNack, typeSuspect, typeAlive, typeDead}
	inRequests  = []byte{typePing, typePushPull}
	inReplies   = []byte{typeAck, typePushPull, typeError}
)

// message checks one message of the allowed types that is neither compressed nor encrypted.
func message(s *source, allowed []byte) error {
	kind, err := s.byte()
	if err != nil {
		return err
	}
	if kind == typeEncrypted {
		return fmt.Errorf("is encrypted: this node has no gossip key, its sender has one")
	}
	if !slices.Contains(allowed, kind) {
		return fmt.Errorf("has type %d, which is not sent here", kind)
	}
	if kind == typePushPull {
		return state(s)
	}
	return objects[kind].read(s)
}

// state checks what a node tells of all members.
func state(s *source) error {
	count := uint64(0)
	header := object{
		"Nodes": func(s *source, lead byte) (err error) {
			if count, err = s.integer(lead); err == nil && count > maxState {
				err = fmt.Errorf("%d are more than the %d of a state", count, maxState)
			}
			return err
		},
		"UserStateLen": integer(0), // nodes of ndring have none
		"Join":         boolean,
	}
	if err := header.read(s); err != nil {
		return err
	}
	for range count {
		if err := member.read(s); err != nil {
			return err
		}
	}
	return nil
}

// unpack returns a source of the message within a compressed one, whose type was read, which may
// have up to limit bytes.
func unpack(s *source, limit int) (*source, error) {
	var packed []byte
	body := object{
		"Algo": integer(0), // LZW
		"Buf": func(s *source, lead byte) (err error) {
			packed, err = s.text(lead, limit)
			return err
		},
	}
	if err := body.read(s); err != nil {
		return nil, err
	}
	return &source{r: lzw.NewReader(bytes.NewReader(packed), lzw.LSB, 8), limit: limit}, nil
}
