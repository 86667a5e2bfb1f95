// Package shard holds the state of a node's shards: entries, versions, time to live, conditions of a write, and what of it is on disk.
//
// A shard orders the writes to its keys. It knows nothing of connections, RESP or other nodes' addresses: it takes decoded writes and
// gives out immutable entries.
//
// # Ownership
//
// The bytes of an entry lie in counted buffers (package memory). The shard holds one reference to each buffer of an entry that it
// stores. Shard.Get retains the buffers for the caller, who calls Entry.Release when the bytes are no longer needed; an
// overwrite in between replaces the entry and takes nothing from that caller. Shard.Set takes over the references of
// what it is given, stored or not, and copies what was only lent.
//
// # Locks
//
// Each shard has a lock for its writers, which is held across the write to the log, and one for its index and deadlines, which readers share and which
// is held for moments; nothing is copied, checked, sent or written to disk under it, but for small entries that are moved together. Who changes
// the index holds both, the writers' first. No lock of a shard is taken while another shard's is held. The lock of a memory pool is the innermost.
//
// # Gates
//
// A command is in its shard between Enter and Leave. That is possible while this node serves the shard (serve.go), which others decide: Open, Close. The epoch of
// a shard, in which its versions and records are made, changes only while nobody is inside. Who opens or closes holds the gate's mutex, which comes before the
// locks above; those inside never take it.
//
// # Disk
//
// With UseDisk, a change comes into the shard's log before anybody sees it (commit.go); recovery.go reads it back, upkeep.go looks after the files: see
// docs/persistence.md.
//
// # Memory
//
// An entry is one block off Go's heap, and so is an index: see docs/memory.md. Entries go when memory is short (evict.go): whoever needs room
// calls Store.MakeRoom first.
package shard
