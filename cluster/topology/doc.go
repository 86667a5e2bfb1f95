// Package topology is the pure core of the cluster: which slots there are, which shard a slot is in, which node owns a shard.
//
// It is data and decisions only. It does no I/O, has no clock and starts no goroutine, so that every node that holds the
// same topology gives the same answers, and tests need nothing but values.
package topology
