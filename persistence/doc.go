// Package persistence keeps shards on disk: logs, snapshots, files of large values, and what is made of them after a stop. It knows bytes, not arrays.
//
// docs/format.md draws the files, docs/persistence.md says who writes them when.
//
// # Ownership
//
// A Disk is the folder of a node; nobody else uses it while it is open. It hands out one Log a shard. Append and BeginSnapshot are for one
// goroutine at a time, the one that orders the shard's writes; Sync and what belongs to a Snapshot may run beside it.
//
// # Locks
//
// Each Log has two: syncing is held by the one who waits for the disk, mu guards the few fields that change and is never held across a call of the
// file system that may take long. syncing comes first.
package persistence
