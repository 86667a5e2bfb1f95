// Package replication carries the logs of shards between nodes. Package shard decides, by the rules of package replica,
// what a frame may do; this package moves frames: it owns the connections, their goroutines and what is queued on them.
//
// A Replicator has a peer for each process to which this node sends: one that has a copy of a shard that this node leads. A peer
// has up to three kinds of connections, which it dials. On the append connection records go out and acknowledgements come
// back. On the heartbeat connection leases are renewed. On bulk connections large values and whole copies travel, so that
// they hold up nothing else. The Serve methods are the other ends of these connections.
//
// A stream is one shard on its way to one peer. It is attached while what the primary appends goes to the peer at once. Otherwise
// the primary asks what the member has, and catches it up from the log, or with a whole copy, until it can be attached.
//
// Lock order: the locks of a shard, then Replicator.mu, then peer.mu, then window.mu. No method of a shard is called under peer.mu.
package replication
