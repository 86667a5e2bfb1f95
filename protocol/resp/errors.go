package resp

import (
	"errors"
	"fmt"
)

var (
	// ErrProtocol is returned when the stream is not RESP. The connection must be closed: the start of
	// the next command is unknown.
	ErrProtocol = errors.New("Protocol error")
	// ErrSpeaksTLS is returned when the stream is TLS.
	ErrSpeaksTLS = fmt.Errorf("%w: this is the beginning of TLS, and this port does not speak it", ErrProtocol)
	// ErrTooLarge is returned when an argument or a whole command exceeds its limit.
	ErrTooLarge = errors.New("too large")
	// ErrCopies is returned when a reply needs a copy, and those for all clients have as many bytes as replies may have.
	ErrCopies = errors.New("too many parts of arrays are on their way to clients, try again")
	// ErrBusy is returned when the upload budget stayed full for as long as a command may wait.
	ErrBusy = errors.New("too many uploads at once, try again")
	// ErrOutputLimit is returned when more bytes wait for a client than its limit allows.
	ErrOutputLimit = errors.New("output limit exceeded")
)

// Refusal is an error after which the stream goes on: the whole command has been skipped.
type Refusal struct{ Err error }

func (r Refusal) Error() string { return r.Err.Error() }

func (r Refusal) Unwrap() error { return r.Err }

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}
