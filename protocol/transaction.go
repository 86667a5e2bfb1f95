package protocol

import (
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// Bounds of what one connection may queue and watch.
const (
	maxQueued  = 64 << 10  // commands
	maxWatched = 256 << 10 // bytes of watched keys, overhead included
)

// transaction is what a client queues and watches until EXEC. All of its keys are in one slot: EXEC holds
// their shard, and so executes atomically. Only the connection's goroutine uses it.
type transaction struct {
	open      bool  // after MULTI
	failed    bool  // a command was refused, so EXEC fails
	writes    bool  // a queued command writes
	copyBytes int64 // bytes that the store copies for the queued commands
	queue     []queued
	watched   []watched
	cost      int // of watched, in bytes
}

type queued struct {
	row *command.Spec
	*resp.Kept
}

type watched struct {
	key  string
	mark shard.Mark
}
