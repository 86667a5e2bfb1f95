// Package topology is the pure core of the cluster: slots, shards, the members, who serves which shard,
// and every decision about them.
//
// It holds data and decisions only. It does no I/O, reads no clock and starts no goroutine: nodes with
// the same topology decide the same, and tests need nothing but values. It must never know of gossip,
// raft, sockets or arrays: liveness and time are parameters.
//
// A Topology is immutable. Apply makes the next one from a Command, the content of one log entry, in the
// same way on every node. Each op is a compare-and-swap on the epoch of a shard or the incarnation of a
// node, and is applied or refused on its own. Check and CheckStep state what must hold for every
// topology, and for every step from one to the next.
//
// Proposals come from Plan (the controller, on the leader), Moves (each node, for the shards that it
// serves) and PlanVoters (the leader, for raft's members). They may look at an outdated topology: then
// Apply refuses their ops with ErrStale.
//
// A node serves a shard if its newest topology names the node as the primary, in the incarnation that it
// runs as. An epoch has one primary, and a new incarnation of a node loses its primaries in a new epoch.
// So whatever is lost, repeated or late, two nodes never serve one epoch of a shard. docs/cluster.md
// gives the whole picture; testdata/ has transcripts to read.
package topology
