package persistence

import (
	"errors"
	"fmt"
)

// Handler takes what a recovery finds. Keys come in the order of their records; a later call for a key undoes an earlier one.
type Handler interface {
	// Put gives a key a value, whose payload read copies, a piece at a time and in order, all of it. The record is valid during the call. An error
	// says that the payload makes no sense.
	Put(r *Record, read func(dst []byte) error) error
	// Delete takes a key away, if it is there.
	Delete(key []byte)
	// Expire changes the deadline of the value of a key that the record (epoch, seq) made; 0 for none. If the key has another one, that is to go: damage
	// has taken the one that it should have.
	Expire(key []byte, epoch, seq uint64, at int64)
	// Flush takes all keys away.
	Flush()
	// Observe shows each record that counts, in order and before its effect, that of a Put or Delete that a later record undoes included. The record is valid during the call.
	Observe(r *Record)
	// Reset takes all back that was given: the reading begins again.
	Reset()
}

var (
	// ErrSkip is returned by Handler.Put for a value that nobody wants any more.
	ErrSkip = errors.New("skip")
	// ErrNoBlob is returned to Handler.Put when the file that has the payload is missing. It is damage unless Put answers ErrSkip.
	ErrNoBlob error = &damagedError{what: "the file is missing"}
)

// Report is what a recovery found.
type Report struct {
	Records  int64  // that were applied
	Logged   int64  // of them, those that came from the log
	Epoch    uint64 // the newest that the copy has been in, as far as records and snapshots say
	Seq      uint64 // of the last record
	TornFile string // whose end was cut, since a write had not come to its end; empty for none
	TornAt   int64
	Torn     int64 // bytes
	Lost     int64 // bytes behind the first hole after a loss of power, which went to the quarantine
	Damage   []Damage
}

// Damage is a part of a file that is not what was written.
type Damage struct {
	File   string
	Offset int64
	Bytes  int64
	Key    []byte // whose value is lost; nil if that is not known
	What   string
}

func (d Damage) String() string {
	s := fmt.Sprintf("%s at %d, %d bytes: %s", d.File, d.Offset, d.Bytes, d.What)
	if d.Key != nil {
		s += fmt.Sprintf("; the value of key %.128q is lost", d.Key)
	}
	return s
}
