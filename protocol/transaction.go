package protocol

import (
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// Bounds of what one connection may have waiting for its EXEC.
const (
	maxQueued  = 64 << 10  // commands
	maxWatched = 256 << 10 // bytes of watched keys, and what each costs beside
)

// transaction is what lies between MULTI, or WATCH, and EXEC. All keys of one are of one slot: EXEC holds the one shard that they are in, so
// that nothing of others comes in between. Only the connection's own goroutine uses it.
type transaction struct {
	open    bool  // after MULTI
	failed  bool  // a command was refused: EXEC will be
	writes  bool  // a queued command writes
	stores  int64 // bytes that the queued commands would have the store copy
	queue   []queued
	watched []watched
	cost    int // of watched, in bytes
}

type queued struct {
	row *command.Spec
	*resp.Kept
}

type watched struct {
	key  string
	mark shard.Mark
}
