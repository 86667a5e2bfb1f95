package bus

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"slices"

	"github.com/ndring/ndring/internal/crc32c"
)

const (
	// HeaderSize is the length of a frame before its payload.
	HeaderSize = 32

	frameMagic = 0xb5d1
	crcAt      = 28
	firstStep  = 64 << 10 // of a payload's memory: the rest comes as its bytes come
)

// Frame is one message. What its fields mean is the matter of the connection's kind.
type Frame struct {
	Type    uint8
	Flags   uint8
	Shard   uint32
	Epoch   uint64
	Request uint64
	Payload []byte
}

// header encodes all but the payload, whose parts only the length and the checksum tell of.
func (f *Frame) header(parts ...[]byte) [HeaderSize]byte {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	if length > math.MaxUint32 {
		panic("bus: a frame of more than 4 GiB")
	}
	var h [HeaderSize]byte
	binary.LittleEndian.PutUint16(h[0:], frameMagic)
	h[2], h[3] = f.Type, f.Flags
	binary.LittleEndian.PutUint32(h[4:], f.Shard)
	binary.LittleEndian.PutUint64(h[8:], f.Epoch)
	binary.LittleEndian.PutUint64(h[16:], f.Request)
	binary.LittleEndian.PutUint32(h[24:], uint32(length))
	sum := crc32c.Update(0, h[:crcAt])
	for _, p := range parts {
		sum = crc32c.Update(sum, p)
	}
	binary.LittleEndian.PutUint32(h[crcAt:], sum)
	return h
}

// AppendFrame appends the frame's bytes to dst.
func AppendFrame(dst []byte, f Frame) []byte { return appendParts(dst, f, f.Payload) }

// appendParts appends a frame whose payload is what the parts make together.
func appendParts(dst []byte, f Frame, parts ...[]byte) []byte {
	h := f.header(parts...)
	need := HeaderSize
	for _, p := range parts {
		need += len(p)
	}
	dst = append(slices.Grow(dst, need), h[:]...)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// WriteFrame writes the frame without copying its payload: on a TCP connection in one call of the system.
func WriteFrame(w io.Writer, f Frame) error {
	h := f.header(f.Payload)
	buffers := net.Buffers{h[:], f.Payload}
	if len(f.Payload) == 0 {
		buffers = buffers[:1]
	}
	_, err := buffers.WriteTo(w)
	return err
}

// ReadFrame reads one frame, whose payload is at most limit bytes long and lies in buf as far as that is large enough. The error is io.EOF only between two
// frames; it wraps ErrFrame for a damaged frame and ErrTooLarge for one over the limit, after which the stream is of no use.
func ReadFrame(r io.Reader, buf []byte, limit int) (Frame, error) {
	var h [HeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	if magic := binary.LittleEndian.Uint16(h[0:]); magic != frameMagic {
		return Frame{}, fmt.Errorf("%w: begins with %04x, not %04x", ErrFrame, magic, frameMagic)
	}
	length := int64(binary.LittleEndian.Uint32(h[24:]))
	if length > int64(limit) {
		return Frame{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, length, limit)
	}
	payload, err := readPayload(r, buf[:0], int(length))
	if err != nil {
		return Frame{}, err
	}
	sum := crc32c.Update(crc32c.Update(0, h[:crcAt]), payload)
	if want := binary.LittleEndian.Uint32(h[crcAt:]); sum != want {
		return Frame{}, fmt.Errorf("%w: type %d of %d bytes has checksum %08x, not %08x", ErrFrame, h[2], length, sum, want)
	}
	return Frame{
		Type: h[2], Flags: h[3],
		Shard:   binary.LittleEndian.Uint32(h[4:]),
		Epoch:   binary.LittleEndian.Uint64(h[8:]),
		Request: binary.LittleEndian.Uint64(h[16:]),
		Payload: payload,
	}, nil
}

// readPayload never takes more memory than twice what has come, whatever the header announced: it is not yet known to be true.
func readPayload(r io.Reader, buf []byte, length int) ([]byte, error) {
	for len(buf) < length {
		have := len(buf)
		next := min(length, max(2*have, firstStep, cap(buf)))
		if next > cap(buf) { // to the byte, unlike append
			grown := make([]byte, have, next)
			copy(grown, buf)
			buf = grown
		}
		n, err := io.ReadFull(r, buf[have:next])
		buf = buf[:have+n]
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}
