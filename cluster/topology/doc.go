// Package topology is the pure core of the cluster: which slots there are, which shard a slot is in, which node serves a shard, and everything that decides it.
//
// It is data and decisions only. It does no I/O, has no clock and starts no goroutine, so that every node that holds the same topology gives the same answers, and tests need nothing but
// values. It must never know of gossip, raft, sockets or arrays: what is seen and what time it is are passed in.
//
// A Topology is immutable. Apply makes the next one from a Command, the content of one log entry, on every node in the same way: each op is a compare-and-swap, on the epoch of a shard or the
// incarnation of a node, and is done or refused by itself. Check and CheckStep hold what must be true of every topology, and of every step from one to the next.
//
// What is proposed comes from Plan (the controller, on the leader), Handover (each node, of what it serves) and PlanVoters (the leader, of raft's own members). They may look at a topology
// that is out of date: then Apply refuses what they propose, with ErrStale.
//
// A node serves a shard if the newest topology that it has says that it is the primary, and names the incarnation that it runs as. An epoch has one primary, and a new start of a node takes
// its primaries away in a new epoch; so whatever is lost, repeated or late, two nodes never serve one epoch of a shard. docs/cluster.md has the whole picture; testdata/ has scripts to read.
package topology
