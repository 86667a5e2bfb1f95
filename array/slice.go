package array

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrSlice is returned for a slice that is not of the form start:stop:step[,...], or has more axes
// than the array.
var ErrSlice = errors.New("invalid slice")

// Slice is a part of an array: for each axis the elements start, start+step, ...
type Slice struct {
	of   *Header
	axes []axis
}

type axis struct{ start, step, count int64 }

// maxSliceText bounds the text of a slice: 64 axes of three integers, which may exceed int64.
const maxSliceText = MaxDims * 64

// Slice parses a slice of the array, such as 10:20,::2: one start:stop:step per axis, with all that
// Python allows (omitted and negative numbers, ends beyond the array). Axes without one stay whole.
func (h *Header) Slice(text string) (*Slice, error) {
	if len(text) > maxSliceText {
		return nil, fmt.Errorf("%w: it has more than %d characters", ErrSlice, maxSliceText)
	}
	parts := strings.Split(text, ",")
	if len(parts) > len(h.Shape) {
		return nil, axesErrorf(ErrSlice, "it has %d axes, the array has %d", len(parts), len(h.Shape))
	}
	s := &Slice{of: h, axes: make([]axis, len(h.Shape))}
	for i, length := range h.Shape {
		part := ":"
		if i < len(parts) {
			part = strings.TrimSpace(parts[i])
		}
		var err error
		if s.axes[i], err = parseAxis(part, length); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// parseAxis parses start:stop:step for an axis, as Python's slice.indices does.
func parseAxis(text string, length int64) (axis, error) {
	words := strings.Split(text, ":")
	if len(words) < 2 || len(words) > 3 {
		return axis{}, fmt.Errorf("%w: %.64q is not of the form start:stop:step", ErrSlice, text)
	}
	var numbers [3]*int64
	for i, word := range words {
		if word == "" {
			continue
		}
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) { // beyond int64, n is the nearest int64, which is beyond every array, too
			return axis{}, fmt.Errorf("%w: %.64q is not an integer", ErrSlice, word)
		}
		numbers[i] = &n
	}
	step := int64(1)
	if numbers[2] != nil {
		step = *numbers[2]
	}
	if step == 0 {
		return axis{}, fmt.Errorf("%w: the step must not be 0", ErrSlice)
	}
	low, high := int64(0), length // bounds of start and stop
	if step < 0 {
		low, high = -1, length-1
	}
	bound := func(n *int64, missing int64) int64 {
		if n == nil {
			return missing
		}
		v := *n
		if v < 0 {
			v = max(v, -length-1) + length
		}
		return min(max(v, low), high)
	}
	a := axis{step: step}
	var stop, distance int64
	if step > 0 {
		a.start, stop = bound(numbers[0], low), bound(numbers[1], high)
		distance = stop - a.start
	} else {
		a.start, stop = bound(numbers[0], high), bound(numbers[1], low)
		distance = a.start - stop
		if step = -step; step < 0 { // the smallest int64 has no positive counterpart
			step = 1<<63 - 1
		}
	}
	if distance > 0 {
		a.count = (distance-1)/step + 1
	}
	return a, nil
}

// Copy writes the slice of npy, the file to which the header belongs, as a .npy file into memory
// that allocate returns. It writes nothing if that is nil.
func (s *Slice) Copy(npy []byte, allocate func(bytes int) []byte) {
	size := s.of.ItemSize
	shape := make([]int64, len(s.axes))
	for i, a := range s.axes {
		shape[i] = a.count
		size *= a.count // at most what the array has
	}
	head := s.of.withShape(shape)
	to := allocate(len(head) + int(size))
	if to == nil {
		return
	}
	copy(to, head)
	if size == 0 {
		return
	}
	strides := make([]int64, len(s.axes)) // bytes in npy
	axes := slices.Clone(s.axes)
	stride := s.of.ItemSize
	for i := range axes { // from here on the fastest axis comes first
		at := len(axes) - 1 - i
		if s.of.Fortran {
			at = i
		}
		strides[i] = stride
		stride *= s.of.Shape[at]
		axes[i] = s.axes[at]
	}
	run := s.of.ItemSize // bytes that are contiguous in both files
	whole := 0           // axes within a run
	for whole < len(axes) && axes[whole].step == 1 && strides[whole] == run {
		run *= axes[whole].count
		whole++
	}
	from := s.of.DataOffset
	for i, a := range axes {
		from += a.start * strides[i]
	}
	copyRuns(to[len(head):], npy, from, run, axes[whole:], strides[whole:])
}

// copyRuns copies the runs of the remaining axes, the fastest first, and returns the rest of to.
func copyRuns(to, npy []byte, from, run int64, axes []axis, strides []int64) []byte {
	if len(axes) == 0 {
		return to[copy(to, npy[from:from+run]):]
	}
	last := len(axes) - 1
	for range axes[last].count {
		to = copyRuns(to, npy, from, run, axes[:last], strides[:last])
		from += axes[last].step * strides[last]
	}
	return to
}
