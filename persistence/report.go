package persistence

import (
	"errors"
	"fmt"
)

// Handler receives what a recovery reads. Calls for a key arrive in the order of its records; a
// later one replaces the effect of an earlier one.
type Handler interface {
	// Put sets the value of a key. Each read copies the next piece of the payload; Put must read
	// all of it. The record is valid during the call. An error means that the payload is damaged.
	Put(r *Record, read func(dst []byte) error) error
	// Delete removes a key, if it exists.
	Delete(key []byte)
	// Expire changes the deadline of the value that the record (epoch, seq) set; 0 for none. If the
	// key has another value, Expire removes that: damage has taken the right one.
	Expire(key []byte, epoch, seq uint64, at int64)
	// Flush removes all keys.
	Flush()
	// Observe is called with each record that counts, in order and before its effect, even if a
	// later record undoes that. The record is valid during the call.
	Observe(r *Record)
	// Suffix is called last, in order, with each record that no commit index in the files covers: it
	// is not visible, and may have to be taken back. Each read copies the next piece of the payload
	// of a Put. The record is valid during the call. Seqs may be missing after damage. An error
	// means that the payload is damaged; ErrSkip that the value is not needed.
	Suffix(r *Record, read func(dst []byte) error) error
	// Reset undoes all calls so far: the reading starts over.
	Reset()
}

var (
	// ErrSkip is returned by Handler.Put for a value that is not needed.
	ErrSkip = errors.New("skip")
	// ErrNoBlob is returned to Handler.Put when the blob with the payload is missing. It is damage
	// unless Put returns ErrSkip.
	ErrNoBlob error = &damagedError{what: "the file is missing"}
)

// Report is what a recovery found.
type Report struct {
	Records  int64  // applied
	Logged   int64  // of these, the ones from the log
	NoOps    int64  // of those, the ones that change nothing
	Epoch    uint64 // the newest one of the records, snapshots and marks
	Given    uint64 // the greatest seq that a record ever had, by the records, marks and manifest: later records follow it
	Has      Point  // the end of the unbroken prefix of the shard's history that the files have
	Commit   uint64 // the greatest commit index in the files
	HeldBack int64  // records after it, given to Handler.Suffix
	Time     int64  // the greatest time in a NoOp, in Unix ms; 0 for none
	TornFile string // segment that ends with a write that did not finish; empty for none
	TornAt   int64
	Torn     int64 // bytes
	Lost     int64 // bytes of segments past the first hole that a loss of power left, or of a truncated tail; they are in the quarantine
	Damage   []Damage
	Doubtful bool // the copy may lack what it acknowledged: damage was found, now or by an earlier start, and the cluster may not know it (Identity.ClearUnclean)
}

// Damage is a part of a file that differs from what was written.
type Damage struct {
	File   string
	Offset int64
	Bytes  int64
	Key    []byte // whose value is lost; nil if unknown
	What   string
}

func (d Damage) String() string {
	s := fmt.Sprintf("%s at %d, %d bytes: %s", d.File, d.Offset, d.Bytes, d.What)
	if d.Key != nil {
		s += fmt.Sprintf("; the value of key %.128q is lost", d.Key)
	}
	return s
}
