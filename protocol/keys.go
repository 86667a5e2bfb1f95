package protocol

import (
	"bytes"
	"cmp"
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
	outputs       *resp.Outputs // of all clients
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

// heldShard is the shard that a command on keys holds. It remembers the future of what the command
// changed, and so has the methods of keyspace.
type heldShard struct {
	*shard.Shard              // nil between two commands
	by           int64        // the id of the connection
	future       shard.Future // of the command's change, if that has to be waited for; no handler makes two
}

// hold begins a command in a shard that the caller has acquired.
func (h *heldShard) hold(inside *shard.Shard) { h.Shard = inside }

// leave ends the command and releases the shard.
func (h *heldShard) leave() {
	h.Shard.Release()
	h.Shard = nil
	if h.future.Shard() != nil {
		h.future = shard.Future{}
	}
}

// changed takes note of the future of a change. Most are complete: then there is nothing to note.
func (h *heldShard) changed(f shard.Future) {
	if f.Shard() != nil {
		h.future = f
	}
}

// Set is Shard.Set.
func (h *heldShard) Set(w shard.Write) (shard.Outcome, error) {
	w.By = h.by
	result, f, err := h.Shard.Set(w)
	h.changed(f)
	return result, err
}

// SetAll is Shard.SetAll.
func (h *heldShard) SetAll(writes []shard.Write) error {
	for i := range writes {
		writes[i].By = h.by
	}
	f, err := h.Shard.SetAll(writes)
	h.changed(f)
	return err
}

// Delete is Shard.Delete.
func (h *heldShard) Delete(keys [][]byte) (deleted int, err error) {
	failed := h.update(func(tx *shard.Tx) { deleted, err = tx.Delete(keys) })
	return deleted, cmp.Or(failed, err)
}

// Expire is Shard.Expire.
func (h *heldShard) Expire(key []byte, at int64, condition shard.ExpireCondition) (done bool, err error) {
	failed := h.update(func(tx *shard.Tx) { done, err = tx.Expire(key, at, condition) })
	return done, cmp.Or(failed, err)
}

// Persist is Shard.Persist.
func (h *heldShard) Persist(key []byte) (done bool, err error) {
	failed := h.update(func(tx *shard.Tx) { done, err = tx.Persist(key) })
	return done, cmp.Or(failed, err)
}

// update changes keys without storing values.
func (h *heldShard) update(do func(*shard.Tx)) error {
	f, err := h.Shard.Update(false, func(tx *shard.Tx) {
		tx.By = h.by
		do(tx)
	})
	h.changed(f)
	return err
}
