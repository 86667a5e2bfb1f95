package array

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid is returned for bytes that are not a .npy file, or one that cannot be stored.
	ErrInvalid = errors.New("not a valid .npy file")
	// ErrTruncated is returned when the bytes end within the header. It wraps ErrInvalid.
	ErrTruncated = fmt.Errorf("%w: it ends within the header", ErrInvalid)
	// ErrTooLarge is returned when the header or the data exceeds its limit.
	ErrTooLarge = errors.New("the array is too large")
	// ErrIndices is returned for an axis or indices that are not integers, for too many indices, and for an axis that the array does
	// not have.
	ErrIndices = errors.New("invalid indices")
	// ErrBounds is returned for an index beyond its axis, and for an axis that the array does not have.
	ErrBounds = errors.New("index out of bounds")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// axesError says that an array does not have an axis. It wraps kind and ErrBounds.
type axesError struct {
	kind error
	text string
}

func (e *axesError) Error() string { return e.kind.Error() + ": " + e.text }

func (e *axesError) Unwrap() []error { return []error{e.kind, ErrBounds} }

func axesErrorf(kind error, format string, args ...any) error {
	return &axesError{kind, fmt.Sprintf(format, args...)}
}
