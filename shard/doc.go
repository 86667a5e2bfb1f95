// Package shard holds the shards of a node: their entries, versions and deadlines, the conditions
// of writes, and what of them is on disk.
//
// A shard orders the writes to its keys. The package takes decoded writes and returns immutable
// entries. It must never know of connections, RESP, raft or the addresses of other nodes.
//
// # Parts
//
//	Store     all shards of a node, background work
//	Shard     one shard; joins the parts below
//	Role      whether this node serves the shard, and in which epoch; the gate that commands pass
//	writer    orders changes and logs them (write.go shows the write path)
//	localCopy this node's copy between log and index: what is committed by the rules of package replica, and who waits for it
//	contents  of the copy: the index, the uncommitted suffix over it, the outcomes of requests; apply makes changes visible
//	index     the entries that readers see, by key and by deadline, with their counts
//	Tx        a transaction
//	Future    the outcome of a change that is appended
//	Feed      tells which keys change, for clients that keep copies of values
//	Memory    how much memory the process uses; evictor frees it
//	Disk      recovery, snapshots, compaction, scrubbing; diskGuard throttles writes. docs/persistence.md describes them
//
// # Ownership
//
// An entry is one counted buffer (package memory), and large .npy files and parts have buffers of
// their own. The index holds one reference to every entry. Shard.Get retains the entry for the
// caller, who calls Entry.Release when the bytes are no longer needed; an overwrite in between does
// not affect that caller. Shard.Set takes over the references of the value, stored or not, and
// copies what is only borrowed.
//
// # Locks
//
// In this order:
//
//	Role.mu            held to open or close a shard, also while that waits for the commands inside
//	snapshotter.mu     held to write a snapshot of the shard
//	writer.mu          held to append changes, across the write to the log
//	index.mu           readers share it; held exclusively for a moment to commit changes. It alone guards
//	                   index, suffix, requests and rules, so a commit never waits for a write to the log
//	the locks of memory pools and of Feed
//
// Under index.mu nothing is checked, sent, written to disk or copied, except small entries that are
// moved together, and keys for the Feed while it is on. No goroutine holds the locks of two shards, except that one which decides about a repair
// (Member.Compare) looks at another copy under that copy's index.mu. The leader epoch of a shard changes only
// while its gate is closed and no command is inside. Commands inside the gate never take Role.mu, and wait for
// another copy only for room to send to it, or while a large value travels ahead; both end when the gate closes.
package shard
