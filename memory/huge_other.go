//go:build !goheap && !race && !linux

package memory

func adviseHuge([]byte) {}
