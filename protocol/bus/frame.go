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
	firstStep  = 64 << 10 // bytes allocated for a payload before any of it has arrived
)

// Frame is one message. The kind of the connection defines what the fields mean.
type Frame struct {
	Type    uint8
	Flags   uint8
	Shard   uint32
	Epoch   uint64
	Request uint64
	Payload []byte
}

// header encodes everything but the payload, whose parts enter only the length and the checksum.
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

// appendParts appends a frame whose payload is the concatenation of the parts.
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

// WriteFrame writes the frame without copying its payload, on a TCP connection in one system call.
func WriteFrame(w io.Writer, f Frame) error {
	h := f.header(f.Payload)
	buffers := net.Buffers{h[:], f.Payload}
	if len(f.Payload) == 0 {
		buffers = buffers[:1]
	}
	_, err := buffers.WriteTo(w)
	return err
}

// ReadFrame reads one frame with a payload of at most limit bytes. The payload uses buf if its capacity
// suffices. The error is io.EOF only between two frames; it wraps ErrFrame for a damaged frame and
// ErrTooLarge for one above the limit. After either the stream is unusable.
func ReadFrame(r io.Reader, buf []byte, limit int) (Frame, error) {
	var h [HeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	if magic := binary.LittleEndian.Uint16(h[0:]); magic != frameMagic {
		return Frame{}, fmt.Errorf("%w: it begins with %04x, not %04x", ErrFrame, magic, frameMagic)
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

// readPayload never allocates more than firstStep or twice what has arrived, whatever length the header
// announces: only the checksum at the end proves the header.
func readPayload(r io.Reader, buf []byte, length int) ([]byte, error) {
	for len(buf) < length {
		have := len(buf)
		next := min(length, max(2*have, firstStep, cap(buf)))
		if next > cap(buf) { // exactly, unlike append
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
