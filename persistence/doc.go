// Package persistence keeps shards on disk: logs, snapshots and blobs, and what a start makes of
// them. It knows bytes, records and their order; it never sees an array, a connection or a
// topology.
//
// docs/format.md draws the files, docs/persistence.md explains when they are written.
//
// # Parts
//
// A Disk is the data folder of a node and owns everything in it while it is open: the Identity (its
// manifest), the marks, the reserve, the small Files of the cluster, and one Log per shard. A Log
// appends and syncs; beneath it, folder owns the names of a shard's files, segmentWriter the newest
// segment and blobStore the large values.
//
// Reading is apart from repairing. A Reader reads segments, snapshots and blobs and changes
// nothing; a replay gives their records to a Handler; policy decides what missing or damaged bytes
// mean, for a start as for `ndring check`; only the cleaner, which a start runs afterwards,
// removes, truncates or quarantines files.
//
// # Ownership
//
// Append and BeginSnapshot belong to one goroutine at a time, the one that orders the shard's
// writes. Sync, Stage and the methods of a Snapshot may run beside it.
//
// # Locks
//
// Each Log has two locks. syncing is held while waiting for the disk. mu guards the fields that
// change; it is never held across a file-system call that may take long. The lock order is marks.mu,
// Log.syncing, volume.syncing, Log.mu, then the leaves: blobStore.mu and folder.mu. Identity.mu comes
// after marks.mu and is never taken under Log.mu; only reserve.mu may be taken under it.
package persistence
