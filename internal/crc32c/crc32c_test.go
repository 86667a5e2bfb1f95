package crc32c

import (
	"bytes"
	"testing"
)

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
