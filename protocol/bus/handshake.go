package bus

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
)

// Protocol versions that this program speaks. See "Versions" in doc.go before you change one.
const (
	minVersion = 1
	maxVersion = 1
)

// versions are those that a node speaks, both ends included.
type versions struct{ min, max uint8 }

// agree returns the highest version that the sender of a greeting speaks too.
func (v versions) agree(peer *greeting) (uint8, error) {
	agreed := min(peer.max, v.max)
	if agreed < max(peer.min, v.min) {
		return 0, fmt.Errorf("%w: %s", ErrVersion, v.differ(peer))
	}
	return agreed, nil
}

// differ says which versions both ends speak.
func (v versions) differ(peer *greeting) string {
	return fmt.Sprintf("the peer speaks versions %d to %d, this node %d to %d", peer.min, peer.max, v.min, v.max)
}

const (
	greetingMagic = "NDRB"
	prefixSize    = 12
	identitySize  = 16 + maxNode + 16 + 8
	maxBody       = 1 << 10 // bytes after the prefix, including the checksum
	maxDetail     = 256
)

type message uint8

const (
	hello   message = 1
	welcome message = 2
	refuse  message = 3
)

// greeting is any of the three messages of a handshake: HELLO, and WELCOME or REFUSE in reply.
type greeting struct {
	message message
	// min and max are the versions that the sender speaks. In WELCOME both are the agreed version.
	min, max uint8
	kind     Kind  // of HELLO and WELCOME
	code     uint8 // of REFUSE
	Identity
	wanted Target // of HELLO, without address
	detail string // of REFUSE
}

func (g *greeting) append(dst []byte) ([]byte, error) {
	if !validNode(g.Node) || !validNode(g.wanted.Node) {
		return nil, fmt.Errorf("bus: invalid node id %q: it must have at most %d visible ASCII characters", g.Node+g.wanted.Node, maxNode)
	}
	last := uint8(g.kind)
	if g.message == refuse {
		last = g.code
	}
	start := len(dst)
	dst = append(dst, greetingMagic...)
	dst = append(dst, uint8(g.message), g.min, g.max, last, 0, 0, 0, 0)
	dst = append(dst, g.Cluster[:]...)
	dst = appendNode(dst, g.Node)
	dst = append(dst, g.Store[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, g.Incarnation)
	switch g.message {
	case hello:
		dst = appendNode(dst, g.wanted.Node)
		dst = append(dst, g.wanted.Store[:]...)
	case refuse:
		dst = append(dst, g.detail[:min(len(g.detail), maxDetail)]...)
	}
	binary.LittleEndian.PutUint16(dst[start+8:], uint16(len(dst)-start-prefixSize+4))
	return binary.LittleEndian.AppendUint32(dst, crc32c.Checksum(dst[start:])), nil
}

func appendNode(dst []byte, id topology.NodeID) []byte {
	var field [maxNode]byte
	copy(field[:], id)
	return append(dst, field[:]...)
}

// readGreeting reads one message and not a byte beyond it. The error wraps ErrNoBus or is the reader's.
func readGreeting(r io.Reader) (greeting, error) {
	buf := make([]byte, prefixSize, prefixSize+256)
	if _, err := io.ReadFull(r, buf); err != nil {
		return greeting{}, err
	}
	if string(buf[:4]) != greetingMagic {
		return greeting{}, fmt.Errorf("%w: it begins with %q", ErrNoBus, buf[:4])
	}
	length := int(binary.LittleEndian.Uint16(buf[8:]))
	if length < 4 || length > maxBody {
		return greeting{}, fmt.Errorf("%w: a body of %d bytes", ErrNoBus, length)
	}
	buf = append(buf, make([]byte, length)...)
	if _, err := io.ReadFull(r, buf[prefixSize:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return greeting{}, err
	}
	covered, sum := buf[:len(buf)-4], binary.LittleEndian.Uint32(buf[len(buf)-4:])
	if crc32c.Checksum(covered) != sum {
		return greeting{}, fmt.Errorf("%w: wrong checksum", ErrNoBus)
	}
	return parseGreeting(covered)
}

func parseGreeting(b []byte) (greeting, error) {
	g := greeting{message: message(b[4]), min: b[5], max: b[6]}
	switch g.message {
	case hello, welcome:
		g.kind = Kind(b[7])
	case refuse:
		g.code = b[7]
	default:
		return greeting{}, fmt.Errorf("%w: message %d", ErrNoBus, g.message)
	}
	body := b[prefixSize:]
	want := identitySize
	if g.message == hello {
		want += maxNode + 16
	}
	if len(body) < want { // later versions may add to it
		return greeting{}, fmt.Errorf("%w: message %d of %d bytes", ErrNoBus, g.message, len(body))
	}
	var err1, err2 error
	copy(g.Cluster[:], body)
	g.Node, err1 = parseNode(body[16:][:maxNode])
	copy(g.Store[:], body[16+maxNode:])
	g.Incarnation = binary.LittleEndian.Uint64(body[32+maxNode:])
	body = body[identitySize:]
	switch g.message {
	case hello:
		g.wanted.Node, err2 = parseNode(body[:maxNode])
		copy(g.wanted.Store[:], body[maxNode:])
	case refuse:
		g.detail = string(body[:min(len(body), maxDetail)])
	}
	for _, err := range []error{err1, err2} {
		if err != nil {
			return greeting{}, err
		}
	}
	return g, nil
}

// parseNode reads a node id that is padded with zeros.
func parseNode(field []byte) (topology.NodeID, error) {
	end := len(field)
	for end > 0 && field[end-1] == 0 {
		end--
	}
	id := topology.NodeID(field[:end])
	if !validNode(id) {
		return "", fmt.Errorf("%w: node id %q", ErrNoBus, string(id))
	}
	return id, nil
}
