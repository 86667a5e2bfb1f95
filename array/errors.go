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
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
