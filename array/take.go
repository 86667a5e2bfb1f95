package array

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxIndices bounds how many indices a Taking has.
const MaxIndices = 1 << 16

var (
	// ErrIndices is returned for an axis that the array does not have, and for indices that are no integers, or too many.
	ErrIndices = errors.New("invalid indices")
	// ErrBounds is returned for an index beyond the axis, and for more axes than the array has.
	ErrBounds = errors.New("index out of bounds")
)

// axesError says that an array has fewer axes than asked for. It wraps kind and ErrBounds.
type axesError struct {
	kind error
	text string
}

func (e *axesError) Error() string { return e.kind.Error() + ": " + e.text }

func (e *axesError) Unwrap() []error { return []error{e.kind, ErrBounds} }

func axesErrorf(kind error, format string, args ...any) error {
	return &axesError{kind, fmt.Sprintf(format, args...)}
}

// Taking is a part of an array: along one axis the elements at given indices, in their order.
type Taking struct {
	of      *Header
	axis    int
	indices []int64
}

// Take parses an axis, and indices along it that are separated by commas. Negative ones count from the end, as NumPy has them.
// At most maxData bytes of data may come out.
func (h *Header) Take(axisText, indexText string, maxData int64) (*Taking, error) {
	axis, err := strconv.Atoi(axisText)
	dims := len(h.Shape)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%w: the axis %.64q is not an integer", ErrIndices, axisText)
	}
	if axis < -dims || axis >= dims {
		return nil, axesErrorf(ErrIndices, "%.64s is not an axis of an array with %d axes", axisText, dims)
	}
	t := &Taking{of: h, axis: (axis + dims) % dims}
	if indexText == "" {
		return t, nil
	}
	count := strings.Count(indexText, ",") + 1
	if count > MaxIndices {
		return nil, fmt.Errorf("%w: there are %d, the limit is %d", ErrIndices, count, MaxIndices)
	}
	length := h.Shape[t.axis]
	t.indices = make([]int64, 0, count)
	for text := range strings.SplitSeq(indexText, ",") {
		i, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange):
			i = -length - 1 // no array is that long
		case err != nil:
			return nil, fmt.Errorf("%w: %.64q is not an integer", ErrIndices, text)
		}
		if i < -length || i >= length {
			return nil, fmt.Errorf("%w: %.64s, and axis %d has %d elements", ErrBounds, strings.TrimSpace(text), t.axis, length)
		}
		if i < 0 {
			i += length
		}
		t.indices = append(t.indices, i)
	}
	shape := slices.Clone(h.Shape)
	shape[t.axis] = int64(count)
	if _, err := product(shape, h.ItemSize); err != nil {
		return nil, fmt.Errorf("%w: %d indices along axis %d", ErrTooLarge, count, t.axis)
	}
	if of := h.DataBytes() / max(length, 1); of > 0 && int64(count) > maxData/of { // else it has no data, or few
		return nil, fmt.Errorf("%w: %d times %d bytes, the limit is %d", ErrTooLarge, count, of, maxData)
	}
	return t, nil
}

// Copy writes the part of npy, the file to which the header belongs, as a .npy file into memory that allocate returns. It writes
// nothing if that is nil.
func (t *Taking) Copy(npy []byte, allocate func(bytes int) []byte) {
	h := t.of
	shape := slices.Clone(h.Shape)
	shape[t.axis] = int64(len(t.indices))
	head := h.withShape(shape)
	run, outer := h.ItemSize, int64(1) // bytes that belong to one index and follow one another; how many such places there are
	for i, n := range h.Shape {
		switch faster := (i > t.axis) != h.Fortran; {
		case i == t.axis:
		case faster:
			run *= n
		default:
			outer *= n
		}
	}
	size := run * outer * int64(len(t.indices))
	to := allocate(len(head) + int(size))
	if to == nil {
		return
	}
	to = to[copy(to, head):]
	if size == 0 {
		return
	}
	from := npy[h.DataOffset:]
	for range outer {
		for _, i := range t.indices {
			to = to[copy(to, from[i*run:(i+1)*run]):]
		}
		from = from[h.Shape[t.axis]*run:]
	}
}
