//go:build !race

package slowtest

// Race says whether the race detector is on. Then tests take five to twenty times as long.
const Race = false
