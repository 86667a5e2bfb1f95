package screen

import (
	"fmt"
	"math"
)

// The subset of MessagePack that memberlist uses: maps of strings to integers, strings (including byte
// strings), booleans and nil.

// check checks a value that starts with the byte lead.
type check func(s *source, lead byte) error

// integer checks a number from 0 to most.
func integer(most uint64) check {
	return func(s *source, lead byte) error {
		v, err := s.integer(lead)
		if err == nil && v > most {
			return fmt.Errorf("is %d, the maximum is %d", v, most)
		}
		return err
	}
}

func boolean(_ *source, lead byte) error {
	if lead != 0xc2 && lead != 0xc3 {
		return errMalformed
	}
	return nil
}

// text checks a string of at most most bytes, or nil.
func text(most int) check {
	return func(s *source, lead byte) error {
		_, err := s.text(lead, most)
		return err
	}
}

func (s *source) integer(lead byte) (uint64, error) {
	switch {
	case lead < 0x80:
		return uint64(lead), nil
	case lead >= 0xcc && lead <= 0xcf: // unsigned
		return s.number(1 << (lead - 0xcc))
	case lead >= 0xd0 && lead <= 0xd3: // signed; no field may be negative
		size := 1 << (lead - 0xd0)
		v, err := s.number(size)
		if err == nil && v>>(8*size-1) != 0 {
			err = fmt.Errorf("is negative")
		}
		return v, err
	}
	return 0, errMalformed
}

func (s *source) text(lead byte, most int) ([]byte, error) {
	length := uint64(0)
	var err error
	switch {
	case lead == 0xc0:
		return nil, nil
	case lead >= 0xa0 && lead < 0xc0:
		length = uint64(lead - 0xa0)
	case lead >= 0xd9 && lead <= 0xdb: // str 8, 16, 32
		length, err = s.number(1 << (lead - 0xd9))
	case lead >= 0xc4 && lead <= 0xc6: // bin 8, 16, 32
		length, err = s.number(1 << (lead - 0xc4))
	default:
		err = errMalformed
	}
	if err != nil {
		return nil, err
	}
	if length > uint64(min(most, math.MaxInt32)) {
		return nil, fmt.Errorf("has %d bytes, the maximum is %d", length, most)
	}
	return s.take(int(length))
}

// object is a map with each of these fields exactly once.
type object map[string]check

// optional are the fields that memberlist omits when they are empty.
var optional = map[string]bool{"SourceAddr": true, "SourcePort": true, "SourceNode": true}

// longestField is the length of the longest field name.
const longestField = 16

// read checks a map. It rejects unknown and duplicate fields, so memberlist decodes exactly what was checked.
func (o object) read(s *source) error {
	lead, err := s.byte()
	if err != nil {
		return err
	}
	count := uint64(0)
	switch {
	case lead >= 0x80 && lead < 0x90:
		count = uint64(lead - 0x80)
	case lead == 0xde || lead == 0xdf:
		count, err = s.number(2 << (lead - 0xde))
	default:
		err = errMalformed
	}
	if err != nil {
		return err
	}
	if count > uint64(len(o)) {
		return errMalformed
	}
	seen := make(map[string]bool, count)
	for range count {
		if err := o.field(s, seen); err != nil {
			return err
		}
	}
	for name := range o {
		if !seen[name] && !optional[name] {
			return fmt.Errorf("has no %s", name)
		}
	}
	return nil
}

func (o object) field(s *source, seen map[string]bool) error {
	lead, err := s.byte()
	if err != nil {
		return err
	}
	name, err := s.text(lead, longestField)
	if err != nil {
		return err
	}
	check, known := o[string(name)]
	if !known || seen[string(name)] {
		return errMalformed
	}
	seen[string(name)] = true
	if lead, err = s.byte(); err != nil {
		return err
	}
	if err := check(s, lead); err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	return nil
}
