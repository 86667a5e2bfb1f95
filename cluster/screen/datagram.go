package screen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// packet is a parsed datagram.
type packet struct {
	messages []byte // for memberlist, in their own buffer
	cost     int
	members  []string // named in the messages
}

// datagram parses a datagram. The packet has its cost even after an error.
func datagram(b []byte) (p packet, err error) {
	p.cost = 1
	if p.messages, err = unwrap(b); err != nil {
		return p, err
	}
	if b := p.messages; len(b) == 0 || b[0] != typeCompound {
		p.cost = weight(b)
		return p, p.whole(b)
	}
	return p, p.parts(p.messages[1:])
}

// unwrap removes the checksum and the compression of a datagram.
func unwrap(b []byte) ([]byte, error) {
	if len(b) > maxDatagram {
		return nil, errTooLong
	}
	if len(b) >= 5 && b[0] == typeCRC {
		if crc32.ChecksumIEEE(b[5:]) != binary.BigEndian.Uint32(b[1:5]) {
			return nil, fmt.Errorf("has a wrong checksum")
		}
		b = b[5:]
	}
	if len(b) == 0 || b[0] != typeCompressed {
		return bytes.Clone(b), nil
	}
	inner, err := unpack(&source{r: bytes.NewReader(b[1:]), limit: maxDatagram}, maxDatagram)
	if err != nil {
		return nil, err
	}
	if b, err = io.ReadAll(io.LimitReader(inner.r, maxDatagram+1)); err == nil && len(b) > maxDatagram {
		err = errTooLong
	}
	return b, err
}

// parts checks the messages of a compound message.
func (p *packet) parts(b []byte) error {
	if len(b) == 0 || len(b) < 1+2*int(b[0]) {
		return errMalformed
	}
	p.cost = 0
	count := int(b[0])
	lengths, rest := b[1:1+2*count], b[1+2*count:]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		n := int(binary.BigEndian.Uint16(lengths))
		if n > len(rest) {
			return errMalformed
		}
		p.cost += weight(rest[:n])
		if err := p.whole(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return errMalformed
	}
	return nil
}

// whole checks that b is exactly one message of a datagram.
func (p *packet) whole(b []byte) error {
	r := bytes.NewReader(b)
	err := message(&source{r: r, limit: maxDatagram, names: &p.members}, inDatagrams)
	if errors.Is(err, io.EOF) || err == nil && r.Len() > 0 {
		err = errMalformed
	}
	return err
}

// weight returns the cost of a message, in ordinary messages: an indirect ping makes memberlist start a
// goroutine and send to an address that the sender chooses.
func weight(b []byte) int {
	if len(b) > 0 && b[0] == typeIndirectPing {
		return 20
	}
	return 1
}
