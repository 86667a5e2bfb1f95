package array

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// Limits of a header.
const (
	MaxHeader = 1 << 20 // bytes of the literal; numpy exceeds 64 KiB only for very many fields
	MaxDims   = 64      // numpy 2's NPY_MAXDIMS
)

const magic = "\x93NUMPY"

// Header is what a .npy file says about its data.
type Header struct {
	Major, Minor uint8
	Descr        string // as numpy writes it, without quotes for a simple dtype: <f4, or [('x', '<i4'), ('y', '<f8', (3,))]
	Fortran      bool   // the first index varies fastest
	Shape        []int64
	ItemSize     int64 // bytes of one element
	DataOffset   int64 // bytes before the data

	size int64 // elements
}

// Size returns the number of elements.
func (h *Header) Size() int64 { return h.size }

// DataBytes returns the number of bytes of the data.
func (h *Header) DataBytes() int64 { return h.size * h.ItemSize }

// FileBytes returns the number of bytes of the whole file.
func (h *Header) FileBytes() int64 { return h.DataOffset + h.DataBytes() }

// Parse reads the header at the beginning of b, which may be longer. It returns ErrTruncated when b
// is too short.
func Parse(b []byte) (*Header, error) {
	if len(b) < len(magic)+2 {
		if !strings.HasPrefix(magic, string(b[:min(len(b), len(magic))])) {
			return nil, invalid("it does not begin with \\x93NUMPY")
		}
		return nil, ErrTruncated
	}
	if string(b[:len(magic)]) != magic {
		return nil, invalid("it does not begin with \\x93NUMPY")
	}
	h := &Header{Major: b[6], Minor: b[7]}
	lengthBytes := 4
	switch {
	case h.Minor != 0 || h.Major < 1 || h.Major > 3:
		return nil, invalid("format version %d.%d is not 1.0, 2.0 or 3.0", h.Major, h.Minor)
	case h.Major == 1:
		lengthBytes = 2
	}
	offset := len(magic) + 2 + lengthBytes
	if len(b) < offset {
		return nil, ErrTruncated
	}
	var length int64
	if lengthBytes == 2 {
		length = int64(binary.LittleEndian.Uint16(b[8:]))
	} else {
		length = int64(binary.LittleEndian.Uint32(b[8:]))
	}
	if length > MaxHeader {
		return nil, fmt.Errorf("%w: its header has %d bytes, the limit is %d", ErrTooLarge, length, MaxHeader)
	}
	if int64(len(b)-offset) < length {
		return nil, ErrTruncated
	}
	h.DataOffset = int64(offset) + length
	text, err := decodeText(b[offset:h.DataOffset], h.Major)
	if err != nil {
		return nil, err
	}
	if err := h.parseDict(text); err != nil {
		return nil, err
	}
	return h, nil
}

// Check parses the header of a whole file and checks that the data has exactly the size that the
// header says, at most maxData bytes.
func Check(npy []byte, maxData int64) (*Header, error) {
	h, err := Parse(npy)
	if err != nil {
		return nil, err
	}
	if h.DataBytes() > maxData {
		return nil, fmt.Errorf("%w: %d bytes of data, the limit is %d", ErrTooLarge, h.DataBytes(), maxData)
	}
	if data := int64(len(npy)) - h.DataOffset; data != h.DataBytes() {
		return nil, invalid("the header says %d bytes of data (%d elements of %d bytes), the file has %d", h.DataBytes(), h.size, h.ItemSize, data)
	}
	return h, nil
}

// decodeText returns the header as UTF-8: versions 1.0 and 2.0 are Latin-1.
func decodeText(b []byte, major uint8) (string, error) {
	if major == 3 {
		if !utf8.Valid(b) {
			return "", invalid("its header is not UTF-8")
		}
		return string(b), nil
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			var s strings.Builder
			for _, c := range b {
				s.WriteRune(rune(c))
			}
			return s.String(), nil
		}
	}
	return string(b), nil
}

// parseDict reads the dict of descr, fortran_order and shape.
func (h *Header) parseDict(text string) error {
	dict, err := parseLiteral(text)
	if err != nil {
		return err
	}
	if dict.kind != kindDict {
		return invalid("its header is %s, not a dict", dict.kind)
	}
	var descr, order, shape *literal
	for i := 0; i < len(dict.items); i += 2 {
		key, value := &dict.items[i], &dict.items[i+1]
		var field **literal
		switch key.text {
		case "descr":
			field = &descr
		case "fortran_order":
			field = &order
		case "shape":
			field = &shape
		}
		if key.kind != kindString || field == nil {
			return invalid("its header has a key other than descr, fortran_order and shape")
		}
		if *field != nil {
			return invalid("its header has the key %s twice", key.text)
		}
		*field = value
	}
	if descr == nil || order == nil || shape == nil {
		return invalid("its header lacks descr, fortran_order or shape")
	}
	if order.kind != kindBool {
		return invalid("fortran_order is %s, not True or False", order.kind)
	}
	h.Fortran = order.number == 1
	if h.ItemSize, err = itemSize(descr); err != nil {
		return err
	}
	h.Descr = descr.descr()
	return h.setShape(shape)
}

func (h *Header) setShape(shape *literal) (err error) {
	if shape.kind != kindTuple {
		return invalid("shape is %s, not a tuple", shape.kind)
	}
	if h.Shape, err = dims(shape.items); err != nil {
		return err
	}
	h.size, err = product(h.Shape, h.ItemSize)
	return err
}

// dims reads the lengths of a shape.
func dims(items []literal) ([]int64, error) {
	if len(items) > MaxDims {
		return nil, invalid("%d dimensions, the limit is %d", len(items), MaxDims)
	}
	out := make([]int64, len(items))
	for i := range items {
		if items[i].kind != kindInt {
			return nil, invalid("a dimension is %s, not an integer", items[i].kind)
		}
		if items[i].number < 0 {
			return nil, invalid("a dimension is negative: %d", items[i].number)
		}
		out[i] = items[i].number
	}
	return out, nil
}

// product returns the number of elements of a shape. Their bytes must fit an int64 even if
// dimensions of 0 are ignored: numpy refuses such shapes too, since its strides would overflow.
func product(shape []int64, itemSize int64) (int64, error) {
	total, empty := max(itemSize, 1), false
	elements := int64(1)
	for _, n := range shape {
		if n == 0 {
			empty = true
			continue
		}
		var err error
		if total, err = multiply(total, n); err != nil {
			return 0, err
		}
		elements *= n // at most total
	}
	if empty {
		return 0, nil
	}
	return elements, nil
}

func multiply(a, b int64) (int64, error) {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high != 0 || low > 1<<63-1 {
		return 0, invalid("the size of the array overflows")
	}
	return int64(low), nil
}

// withShape returns the bytes before the data of a .npy file of the same dtype and order and another shape.
func (h *Header) withShape(shape []int64) []byte {
	descr := h.Descr
	if descr == "" || descr[0] != '[' && descr[0] != '(' {
		descr = "'" + descr + "'"
	}
	order := "False"
	if h.Fortran {
		order = "True"
	}
	var lengths strings.Builder
	for _, n := range shape {
		fmt.Fprintf(&lengths, "%d, ", n)
	}
	text := fmt.Sprintf("{'descr': %s, 'fortran_order': %s, 'shape': (%s), }", descr, order, strings.TrimSuffix(lengths.String(), " "))
	major, lengthBytes := byte(1), 2
	switch {
	case strings.IndexFunc(text, func(r rune) bool { return r > 127 }) >= 0:
		major, lengthBytes = 3, 4
	case len(text) > 65_000:
		major, lengthBytes = 2, 4
	}
	before := len(magic) + 2 + lengthBytes
	text += strings.Repeat(" ", 63-(before+len(text))%64) + "\n" // the data begins at a multiple of 64, as numpy has it
	b := append([]byte(magic), major, 0)
	if lengthBytes == 2 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	}
	return append(b, text...)
}
