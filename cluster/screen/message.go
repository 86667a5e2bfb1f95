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

// The message types of memberlist (net.go, not exported).
const (
	typePing = iota
	typeIndirectPing
	typeAck
	typeSuspect
	typeAlive
	typeDead
	typePushPull
	typeCompound
	typeUser // ndring nodes send none
	typeCompressed
	typeEncrypted
	typeNack
	typeCRC
	typeError
)

const (
	maxName     = 128     // of a member name: id, incarnation and moves
	maxDatagram = 8 << 10 // nodes send up to 1400 bytes
	maxStream   = 2 << 20 // the state of about 6000 members, including those that died in the last 30 s
	maxState    = 8192    // members in one state
	maxError    = 4 << 10 // the text of an error
	cipherExtra = 64      // bytes that encryption adds to a message
)

var (
	number32 = integer(math.MaxUint32)
	port     = integer(math.MaxUint16)
	name     = text(maxName)
)

// memberName checks the name of a member that memberlist would remember.
func memberName(s *source, lead byte) error {
	b, err := s.text(lead, maxName)
	if err == nil && s.names != nil {
		*s.names = append(*s.names, string(b))
	}
	return err
}

// address checks an IP address.
func address(s *source, lead byte) error {
	b, err := s.text(lead, net.IPv6len)
	if err == nil && len(b) != net.IPv4len && len(b) != net.IPv6len {
		return fmt.Errorf("is not an IP address")
	}
	return err
}

// optionalAddress checks an IP address that may be empty.
func optionalAddress(s *source, lead byte) error {
	if lead == 0xc0 || lead == 0xa0 {
		return nil
	}
	return address(s, lead)
}

// versions checks the six versions of a member: minimum, maximum and current of the protocol, then of the delegate.
func versions(s *source, lead byte) error {
	v, err := s.text(lead, 6)
	if err == nil && (len(v) != 6 || v[0] == 0 || v[0] > v[2] || v[2] > v[1] || v[3] > v[5] || v[5] > v[4]) {
		return fmt.Errorf("has invalid versions %v", v)
	}
	return err
}

// objects are the bodies of the messages that consist of one map.
var objects = map[byte]object{
	typePing: {"SeqNo": number32, "Node": name, "SourceAddr": optionalAddress, "SourcePort": port, "SourceNode": name},
	typeIndirectPing: {"SeqNo": number32, "Target": address, "Port": port, "Node": name, "Nack": boolean,
		"SourceAddr": optionalAddress, "SourcePort": port, "SourceNode": name},
	typeAck:     {"SeqNo": number32, "Payload": text(0)},
	typeNack:    {"SeqNo": number32},
	typeSuspect: {"Incarnation": number32, "Node": name, "From": name},
	typeDead:    {"Incarnation": number32, "Node": name, "From": name},
	typeAlive: {"Incarnation": number32, "Node": memberName, "Addr": address, "Port": port, "Meta": text(memberlist.MetaMaxSize),
		"Vsn": versions},
	typeError: {"Error": text(maxError)},
}

// member is one node in a state.
var member = object{"Name": memberName, "Addr": address, "Port": port, "Meta": text(memberlist.MetaMaxSize), "Incarnation": number32,
	"State": integer(uint64(memberlist.StateLeft)), "Vsn": versions}

// The message types that are allowed in each place.
var (
	inDatagrams = []byte{typePing, typeIndirectPing, typeAck, typeNack, typeSuspect, typeAlive, typeDead}
	inRequests  = []byte{typePing, typePushPull}
	inReplies   = []byte{typeAck, typePushPull, typeError}
)

// message checks one message, neither compressed nor encrypted, of one of the allowed types.
func message(s *source, allowed []byte) error {
	kind, err := s.byte()
	if err != nil {
		return err
	}
	if kind == typeEncrypted {
		return fmt.Errorf("is encrypted: the sender has a gossip key, this node has none")
	}
	if !slices.Contains(allowed, kind) {
		return fmt.Errorf("has type %d, which is not allowed here", kind)
	}
	if kind == typePushPull {
		return state(s)
	}
	return objects[kind].read(s)
}

// state checks a push/pull message: the sender's state of all members.
func state(s *source) error {
	count := uint64(0)
	header := object{
		"Nodes": func(s *source, lead byte) (err error) {
			if count, err = s.integer(lead); err == nil && count > maxState {
				err = fmt.Errorf("counts %d members, the limit is %d", count, maxState)
			}
			return err
		},
		"UserStateLen": integer(0), // ndring nodes send none
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

// unpack returns a source of the message inside a compressed one whose type byte has been read. The inner
// message may have up to limit bytes.
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
