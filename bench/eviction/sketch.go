package main

// A sketch estimates how often each key was requested, cached or not, with 4-bit counters: a
// count-min sketch of four rows. Halving it periodically makes old requests fade. It is sized by
// all keys of the trace, larger than in a server: its rows in the table are an upper bound.
type sketch struct {
	rows  [4][]uint8 // one counter per byte, for simplicity; none exceeds 15
	mask  uint32
	added int
}

func newSketch(keys int) *sketch {
	size := 1024
	for size < keys {
		size *= 2
	}
	s := &sketch{mask: uint32(size - 1)}
	for i := range s.rows {
		s.rows[i] = make([]uint8, size)
	}
	return s
}

func (s *sketch) place(row int, key uint32) *uint8 {
	h := (uint64(key) + 1) * (0x9E3779B97F4A7C15 + 2*uint64(row)*0xD1B54A32D192ED03)
	h ^= h >> 29
	h *= 0xBF58476D1CE4E5B9
	return &s.rows[row][uint32(h>>32)&s.mask]
}

func (s *sketch) add(key uint32) {
	s.added++
	for row := range s.rows {
		if at := s.place(row, key); *at < 15 {
			*at++
		}
	}
}

// count is at least 1: the key has just been requested.
func (s *sketch) count(key uint32) uint8 {
	least := uint8(15)
	for row := range s.rows {
		least = min(least, *s.place(row, key))
	}
	return max(least, 1)
}

func (s *sketch) halve() {
	s.added /= 2
	for _, row := range s.rows {
		for i := range row {
			row[i] /= 2
		}
	}
}
