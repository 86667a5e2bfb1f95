//go:build !poison

package shard

const poisoned = false
