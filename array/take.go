package array

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxIndices bounds how many indices a Selection has.
const MaxIndices = 1 << 16

// Selection is a part of an array: along one axis the elements at given indices, in their order.
type Selection struct {
	of      *Header
	axis    int
	indices []int64
	shape   []int64 // of the part
}

// Take parses an axis, and indices along it that are separated by commas. Negative ones count from the end, as NumPy has them.
// At most maxData bytes of data may come out.
func (h *Header) Take(axisText, indexText string, maxData int64) (*Selection, error) {
	axis, err := strconv.Atoi(axisText)
	dims := len(h.Shape)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%w: the axis %.64q is not an integer", ErrIndices, axisText)
	}
	if axis < -dims || axis >= dims {
		return nil, axesErrorf(ErrIndices, "%.64s is not an axis of an array with %d axes", axisText, dims)
	}
	s := &Selection{of: h, axis: (axis + dims) % dims, shape: slices.Clone(h.Shape)}
	count := 0
	if indexText != "" {
		count = strings.Count(indexText, ",") + 1
	}
	if count > MaxIndices {
		return nil, fmt.Errorf("%w: there are %d, the limit is %d", ErrIndices, count, MaxIndices)
	}
	s.shape[s.axis] = int64(count)
	if err := s.parseIndices(indexText, count); err != nil {
		return nil, err
	}
	if size, err := product(s.shape, h.ItemSize); err != nil || size*h.ItemSize > maxData {
		return nil, fmt.Errorf("%w: %d indices along axis %d give more than %d bytes", ErrTooLarge, count, s.axis, maxData)
	}
	return s, nil
}

// parseIndices parses indices that are separated by commas.
func (s *Selection) parseIndices(text string, count int) error {
	if count == 0 {
		return nil
	}
	length := s.of.Shape[s.axis]
	s.indices = make([]int64, 0, count)
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		i, err := strconv.ParseInt(word, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange):
			i = -length - 1 // no array is that long
		case err != nil:
			return fmt.Errorf("%w: %.64q is not an integer", ErrIndices, word)
		}
		if i < -length || i >= length {
			return fmt.Errorf("%w: %.64s, and axis %d has %d elements", ErrBounds, word, s.axis, length)
		}
		if i < 0 {
			i += length
		}
		s.indices = append(s.indices, i)
	}
	return nil
}

// Copy writes the part of npy, the file to which the header belongs, as a .npy file into memory that allocate returns. It writes
// nothing if that is nil.
func (s *Selection) Copy(npy []byte, allocate func(bytes int) []byte) {
	h := s.of
	head := h.withShape(s.shape)
	run, outer := h.ItemSize, int64(1) // bytes that belong to one index and follow one another; how many such places there are
	for i, n := range h.Shape {
		switch faster := (i > s.axis) != h.Fortran; {
		case i == s.axis:
		case faster:
			run *= n
		default:
			outer *= n
		}
	}
	size := run * outer * int64(len(s.indices))
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
		for _, i := range s.indices {
			to = to[copy(to, from[i*run:(i+1)*run]):]
		}
		from = from[h.Shape[s.axis]*run:]
	}
}
