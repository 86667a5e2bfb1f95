// Package protocol serves clients: it reads RESP, finds the command's row in the one command table, routes it by its keys and writes the reply.
//
// The way of a command:
//
//	Reader    bytes of the connection -> arguments; bounds every length before it allocates; large bulks go into their final buffer
//	dispatch  name -> row of the table -> arity -> keys of one slot -> owner of the slot, or a redirect
//	handler   parses its options, calls package shard once, writes the reply
//	replies   small replies are copied together, large ones go out from the memory in which they are stored
//
// A connection is one goroutine that reads and executes; a second one writes only while the client does not read as fast as
// it is answered. The package knows nothing of gossip, consensus or disks.
package protocol
