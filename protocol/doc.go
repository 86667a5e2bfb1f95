// Package protocol serves clients: it reads commands, finds each in the one command table, routes it by
// its keys, executes it and writes the reply. It sees shards and the topology; it must never know gossip,
// consensus or disks.
//
//	resp      bytes of the connection -> arguments; replies -> bytes
//	command   name -> row of the table -> arity, positions of the keys
//	dispatch  keys -> slot -> shard of this node, or a redirect
//	handler   parses its options, makes one call, writes the reply
//
// Ownership: each connection is one goroutine that reads, executes and writes; a second one writes only
// while the client reads more slowly than it is answered. A conn belongs to its goroutine. Server holds
// what connections share, in parts with locks of their own; connections registers the clients.
//
// Handlers: a handler gets a call (arguments and reply writer) and what its type in the table names: the
// shard of its keys, its connection, the cluster, or a part of the server (see handler.go).
//
// Lock order: Server.mu, then connections.mu. Every other lock is a leaf. A command holds its shard open
// (Shard.Acquire) while it runs, and takes no other shard.
package protocol
