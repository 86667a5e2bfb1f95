package array

import (
	"encoding/binary"
	"fmt"
	"strings"
)

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
