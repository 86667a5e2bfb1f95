// Package replica decides, for one copy of one shard, what the copy may do: when a primary may
// serve, which changes are committed, what a member accepts and acknowledges, and when a copy reports
// that it hears no primary. docs/replication.md explains the rules under the names that the comments
// here use: R1 to R9 are the rules of a primary, M1 to M8 those of a member.
//
// The package is pure. It knows no clock, does no I/O, starts no goroutine and takes no lock: times
// and ticks are passed in, each event is one method, and each method returns the Effects that the
// caller carries out, in the order of the fields. The lock of the shard's index guards a Copy.
package replica
