package protocol

import (
	"bytes"
	"log/slog"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// keyAccess is what a command on keys may touch. There is one for each connection.
type keyAccess struct {
	shard         keyspace      // of the keys; the running command holds it open
	held          heldShard     // what shard is, except within EXEC
	store         *shard.Store  // for its clock and its eviction policy only
	pool          *memory.Pool  // of values
	maxArrayBytes int64         // of data of one array
	header        checkedHeader // of the last array that the client sent
	touch         bool          // reads count as accesses: CLIENT NO-TOUCH is off
	log           *slog.Logger

	scratch [][]byte // for call.keys
}

// maxKeyScratch is the number of keys for which a connection keeps memory between commands.
const maxKeyScratch = 64

// of returns the arguments that are keys. The slice is valid until the next call.
func (k *keyAccess) of(row *command.Spec, args []resp.Arg) [][]byte {
	keys := row.AppendKeys(k.scratch[:0], args)
	if cap(keys) <= maxKeyScratch {
		k.scratch = keys
	}
	return keys
}

// checkedHeader caches the last .npy header of a connection: most clients send the same kind of array again.
type checkedHeader struct {
	text   []byte // the bytes before the data
	parsed *array.Header
}

// maxChecked is the longest header that is cached.
const maxChecked = 1 << 10 // bytes

// check does what array.Check does.
func (h *checkedHeader) check(npy []byte, maxData int64) error {
	if h.parsed != nil && bytes.HasPrefix(npy, h.text) && int64(len(npy)) == h.parsed.FileBytes() && h.parsed.DataBytes() <= maxData {
		return nil
	}
	header, err := array.Check(npy, maxData)
	if err == nil && header.DataOffset <= maxChecked {
		h.text, h.parsed = append(h.text[:0], npy[:header.DataOffset]...), header
	}
	return err
}
