// Package crc32c is CRC-32 with the Castagnoli polynomial, the checksum of values, of records on
// disk and of frames between nodes. Processors compute it in hardware (SSE4.2, ARMv8), which
// hash/crc32 uses for this polynomial alone.
package crc32c

import (
	"hash"
	"hash/crc32"

	"github.com/ndring/ndring/internal/fair"
)

var table = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the checksum of b.
func Checksum(b []byte) uint32 { return Update(0, b) }

// Update returns the checksum of the bytes that crc covers, followed by b. It leaves time to other goroutines if b is long.
func Update(crc uint32, b []byte) uint32 {
	for len(b) > fair.Piece {
		crc = crc32.Update(crc, table, b[:fair.Piece])
		b = b[fair.Piece:]
		fair.Yield(fair.Piece)
	}
	return crc32.Update(crc, table, b)
}

// New returns a hash that computes the checksum of what is written to it.
func New() hash.Hash32 { return crc32.New(table) }
