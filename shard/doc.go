// Package shard holds the state of a node's shards: entries, versions, time to live, conditions of a write.
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
// Each shard has one lock, which guards its index and its deadlines. It is not held while values are copied, checked or sent, but for small ones that
// are moved together, and none is ever taken while another shard's is held. The lock of a memory pool is the innermost.
//
// # Memory
//
// An entry is one block off Go's heap, and so is an index: see docs/memory.md. Entries go when memory is short (evict.go): whoever needs room
// calls Store.MakeRoom first.
package shard
