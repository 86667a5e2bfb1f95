//go:build poison

package shard

// poisoned: freed memory is overwritten, which takes long.
const poisoned = true
