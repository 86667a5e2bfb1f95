package screen

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
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
	maxMembers  = 8192    // of one state
	maxError    = 4 << 10 // the text of an error
	cipherExtra = 64      // what encryption adds to a message
)

var (
	number32 = integer(math.MaxUint32)
	port     = integer(math.MaxUint16)
	name     = text(maxName)
)

// address is an IP address.
func address(s *source, lead byte) error {
	b, err := s.text(lead, net.IPv6len)
	if err == nil && len(b) != net.IPv4len && len(b) != net.IPv6len {
		return fmt.Errorf("is no IP address")
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
	typeAlive: {"Incarnation": number32, "Node": name, "Addr": address, "Port": port, "Meta": text(memberlist.MetaMaxSize),
		"Vsn": versions},
	typeError: {"Error": text(maxError)},
}

// member is one node of a state.
var member = object{"Name": name, "Addr": address, "Port": port, "Meta": text(memberlist.MetaMaxSize), "Incarnation": number32,
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
			if count, err = s.integer(lead); err == nil && count > maxMembers {
				err = fmt.Errorf("%d are more than the %d of a state", count, maxMembers)
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

// unpack returns a source of the message within a compressed one, whose type was read, which may have up to limit bytes.
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

// request and reply read one message from a stream and return it as memberlist is to have it.
func request(r io.Reader) ([]byte, error) { return fromStream(r, inRequests) }
func reply(r io.Reader) ([]byte, error)   { return fromStream(r, inReplies) }

func fromStream(r io.Reader, allowed []byte) ([]byte, error) {
	s := &source{r: r, limit: maxStream}
	kind, err := s.byte()
	if err != nil {
		return nil, err
	}
	if kind == typeCompressed {
		if s, err = unpack(s, maxStream); err != nil {
			return nil, err
		}
	} else {
		s = &source{r: io.MultiReader(bytes.NewReader([]byte{kind}), r), limit: maxStream}
	}
	if err := message(s, allowed); err != nil {
		if kind == typeCompressed && errors.Is(err, io.EOF) { // of what it holds, not of the stream
			err = errMalformed
		}
		return nil, err
	}
	return s.taken, nil
}

// encrypted reads one encrypted message from a stream.
func encrypted(r io.Reader) ([]byte, error) {
	s := &source{r: r, limit: maxStream + cipherExtra}
	kind, err := s.byte()
	if err != nil {
		return nil, err
	}
	if kind != typeEncrypted {
		return nil, fmt.Errorf("is not encrypted")
	}
	length, err := s.number(4)
	if err != nil {
		return nil, err
	}
	if _, err := s.take(int(length)); err != nil {
		return nil, err
	}
	return s.taken, nil
}

// datagram returns the messages of a datagram as memberlist is to have them, in a buffer of their own, and what they cost.
func datagram(b []byte) (messages []byte, cost int, err error) {
	if len(b) > maxDatagram {
		return nil, 1, errTooLong
	}
	if len(b) >= 5 && b[0] == typeCRC {
		if crc32.ChecksumIEEE(b[5:]) != binary.BigEndian.Uint32(b[1:5]) {
			return nil, 1, fmt.Errorf("has another checksum than it says")
		}
		b = b[5:]
	}
	if len(b) > 0 && b[0] == typeCompressed {
		inner, err := unpack(&source{r: bytes.NewReader(b[1:]), limit: maxDatagram}, maxDatagram)
		if err != nil {
			return nil, 1, err
		}
		if b, err = io.ReadAll(io.LimitReader(inner.r, maxDatagram+1)); err != nil {
			return nil, 1, err
		}
		if len(b) > maxDatagram {
			return nil, 1, errTooLong
		}
	} else {
		b = bytes.Clone(b)
	}
	if len(b) == 0 || b[0] != typeCompound {
		return b, weight(b), whole(b)
	}
	cost, err = parts(b[1:])
	return b, cost, err
}

// parts checks the messages of a compound one and returns what they cost.
func parts(b []byte) (cost int, err error) {
	if len(b) == 0 || len(b) < 1+2*int(b[0]) {
		return 1, errMalformed
	}
	count := int(b[0])
	lengths, rest := b[1:1+2*count], b[1+2*count:]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		n := int(binary.BigEndian.Uint16(lengths))
		if n > len(rest) {
			return cost + 1, errMalformed
		}
		cost += weight(rest[:n])
		if err := whole(rest[:n]); err != nil {
			return cost, err
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return cost, errMalformed
	}
	return max(cost, 1), nil
}

// whole checks that b is one message of a datagram, and nothing else.
func whole(b []byte) error {
	r := bytes.NewReader(b)
	err := message(&source{r: r, limit: maxDatagram}, inDatagrams)
	if errors.Is(err, io.EOF) || err == nil && r.Len() > 0 {
		err = errMalformed
	}
	return err
}

// weight is how many messages of others one is as dear as: an indirect ping has memberlist start a goroutine and send to an address of the sender's choice.
func weight(b []byte) int {
	if len(b) > 0 && b[0] == typeIndirectPing {
		return 20
	}
	return 1
}
