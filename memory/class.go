package memory

import "math/bits"

// Blocks have size classes: multiples of 16 bytes up to 1 KiB, and from there 64 classes per
// doubling, so rounding loses at most one byte in 64. An unused class costs nothing: untouched
// pages take no memory.
const (
	granule       = 16 // bytes; the alignment of all blocks
	linearLimit   = 1 << linearBits
	linearBits    = 10
	linearClasses = linearLimit / granule
	doubling      = 64 // classes
	maxBits       = 44 // of the size of a block
	classes       = linearClasses + (maxBits-linearBits)*doubling
)

// classOf returns the smallest class whose blocks have at least n bytes.
func classOf(n int) int {
	if n <= linearLimit {
		return (max(n, 1) - 1) / granule
	}
	power := bits.Len(uint(n-1)) - 1 // 2^power < n <= 2^(power+1)
	step := (1 << power) / doubling
	return linearClasses + (power-linearBits)*doubling + (n-1<<power+step-1)/step - 1
}

// strideOf returns the size of the blocks of a class.
func strideOf(class int) int {
	if class < linearClasses {
		return (class + 1) * granule
	}
	class -= linearClasses
	power := linearBits + class/doubling
	return 1<<power + (class%doubling+1)*(1<<power/doubling)
}

// near returns how many of the next larger classes may serve a request: their blocks are up to an
// eighth larger than needed.
func near(class int) int {
	if class < linearClasses {
		return (class + 1) / 8
	}
	return doubling / 8
}

// tier says how large the slabs of a class are. An empty slab of the small or medium tier can
// change its class.
type tier int

const (
	small tier = iota
	medium
	single // one block per slab
	tiers
)

const (
	smallBlock  = 16 << 10 // bytes; largest block of the small tier
	mediumBlock = 1 << 20  // bytes; largest block of the medium tier
	smallSlab   = 1 << 20  // bytes
	mediumSlab  = 16 << 20
)

func tierOf(stride int) tier {
	switch {
	case stride <= smallBlock:
		return small
	case stride <= mediumBlock:
		return medium
	}
	return single
}
