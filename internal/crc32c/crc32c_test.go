package crc32c

import (
	"bytes"
	"hash/crc32"
	"testing"

	"github.com/ndring/ndring/internal/fair"
)

// A long run of bytes, which is summed in pieces, has the sum of hash/crc32.
func TestLongRuns(t *testing.T) {
	t.Parallel()
	for _, n := range []int{fair.Piece - 1, fair.Piece, fair.Piece + 1, 3*fair.Piece + 5} {
		b := bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13}, n/7+1)[:n]
		if got, want := Checksum(b), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)); got != want {
			t.Errorf("%d bytes: %08x, want %08x", n, got, want)
		}
	}
}

// The values are those of RFC 3720 (iSCSI), appendix B.4, and the customary check value of "123456789".
func TestChecksumsOfTheStandard(t *testing.T) {
	t.Parallel()
	ascending := make([]byte, 32)
	for i := range ascending {
		ascending[i] = byte(i)
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want uint32
	}{
		{"nothing", nil, 0},
		{"the check value", []byte("123456789"), 0xe3069283},
		{"32 zeros", make([]byte, 32), 0x8a9136aa},
		{"32 ones", bytes.Repeat([]byte{0xff}, 32), 0x62a8ab43},
		{"ascending", ascending, 0x46dd794e},
	} {
		for at := range len(tc.b) + 1 {
			h := New()
			h.Write(tc.b)
			if sum, parts := Checksum(tc.b), Update(Checksum(tc.b[:at]), tc.b[at:]); sum != tc.want || parts != tc.want || h.Sum32() != tc.want {
				t.Errorf("%s, cut at %d: %08x, %08x, %08x, want %08x", tc.name, at, sum, parts, h.Sum32(), tc.want)
			}
		}
	}
}
