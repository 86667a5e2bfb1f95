// Package npy makes the arrays of the benchmarks: .npy files of float32 with a header of 128 bytes.
package npy

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// HeaderBytes is the length of the header, as numpy writes it for such arrays.
const HeaderBytes = 128

// Float32 returns the .npy file of a vector with the given number of data bytes.
func Float32(bytes int) []byte {
	dict := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }", bytes/4)
	header := "\x93NUMPY\x01\x00" + string(binary.LittleEndian.AppendUint16(nil, HeaderBytes-10)) +
		dict + strings.Repeat(" ", HeaderBytes-11-len(dict)) + "\n"
	b := append(make([]byte, 0, HeaderBytes+bytes), header...)
	r := rand.New(rand.NewPCG(1, uint64(bytes)))
	for len(b) < cap(b) {
		b = binary.LittleEndian.AppendUint32(b, r.Uint32()>>9|0x3f800000) // 1 to 2
	}
	return b
}
