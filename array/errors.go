package array

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid is returned for bytes that are no .npy file that can be stored.
	ErrInvalid = errors.New("not a valid .npy file")
	// ErrTruncated is returned when the bytes end within the header. It is an ErrInvalid too.
	ErrTruncated = fmt.Errorf("%w: it ends within the header", ErrInvalid)
	// ErrTooLarge is returned when the header or the data is above its limit.
	ErrTooLarge = errors.New("the array is too large")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
