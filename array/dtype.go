package array

import (
	"math"
	"regexp"
	"strconv"
)

// itemSize returns the bytes of one element of the dtype that a descr literal describes, in the
// forms that numpy's descr_to_dtype reads: a type string, a list of fields, or a dtype and a shape.
func itemSize(l *literal) (int64, error) {
	switch l.kind {
	case kindString:
		return typeSize(l.text)
	case kindList:
		return fieldsSize(l.items)
	case kindTuple:
		if len(l.items) == 2 {
			return subarraySize(&l.items[0], &l.items[1])
		}
	}
	return 0, invalid("descr is neither a type string, a list of fields nor a dtype with a shape")
}

// subarraySize is the size of an array of a dtype, as one element.
func subarraySize(base, shape *literal) (int64, error) {
	size, err := itemSize(base)
	if err != nil {
		return 0, err
	}
	items := shape.items
	switch shape.kind {
	case kindTuple:
	case kindInt:
		items = []literal{*shape}
	default:
		return 0, invalid("the shape of a subarray is %s, neither a tuple nor an integer", shape.kind)
	}
	lengths, err := dims(items)
	if err != nil {
		return 0, err
	}
	n, err := product(lengths, size)
	if err != nil {
		return 0, err
	}
	return n * size, nil
}

// fieldsSize is the size of a structured dtype. Its fields are contiguous: numpy writes padding as
// fields without a name.
func fieldsSize(fields []literal) (total int64, err error) {
	names := make(map[string]bool, len(fields))
	for i := range fields {
		field := fields[i].items
		if fields[i].kind != kindTuple || len(field) < 2 || len(field) > 3 {
			return 0, invalid("a field is not a tuple of name, dtype and perhaps shape")
		}
		if err := addNames(names, &field[0]); err != nil {
			return 0, err
		}
		var size int64
		if len(field) == 2 {
			size, err = itemSize(&field[1])
		} else {
			size, err = subarraySize(&field[1], &field[2])
		}
		if err != nil {
			return 0, err
		}
		if size > math.MaxInt64-total {
			return 0, invalid("the size of the dtype overflows")
		}
		total += size
	}
	return total, nil
}

// addNames checks a field's name, or its title and name, which share one namespace.
func addNames(seen map[string]bool, name *literal) error {
	all := []literal{*name}
	if name.kind == kindTuple && len(name.items) == 2 {
		all = name.items
	}
	for i := range all {
		if all[i].kind != kindString {
			return invalid("the name of a field is %s, neither a string nor a tuple of title and name", name.kind)
		}
		if all[i].text == "" { // padding
			continue
		}
		if seen[all[i].text] {
			return invalid("two fields have the name or title %.64q", all[i].text)
		}
		seen[all[i].text] = true
	}
	return nil
}

// typeString matches byte order, kind, number of bytes (for U: of characters) and unit of time.
var typeString = regexp.MustCompile(`^([<>|=]?)([a-zA-Z?])(0|[1-9][0-9]{0,9})?(\[[1-9]?[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|μs|ns|ps|fs|as)(?:/[1-9][0-9]{0,9})?\])?$`)

// sizes lists the allowed bytes of the kinds that restrict them. Those of long double, f and c with
// 12, 16, 24 and 32, differ between machines.
var sizes = map[string][]int64{
	"b": {1}, "i": {1, 2, 4, 8}, "u": {1, 2, 4, 8}, "f": {2, 4, 8, 12, 16}, "c": {8, 16, 24, 32}, "M": {8}, "m": {8},
}

func typeSize(s string) (int64, error) {
	m := typeString.FindStringSubmatch(s)
	if m == nil || m[3] == "" && m[2] != "O" {
		return 0, invalid("%.64q is not a type string that numpy writes", s)
	}
	kind, unit := m[2], m[4]
	if kind == "O" {
		return 0, invalid("object arrays are pickles, which ndring never stores: convert to a dtype with a fixed size")
	}
	n, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil || n > math.MaxInt32 || unit != "" && kind != "M" && kind != "m" {
		return 0, invalid("%.64q is not a type string that numpy writes", s)
	}
	switch kind {
	case "S", "V":
		return n, nil
	case "U":
		return 4 * n, nil
	}
	for _, size := range sizes[kind] {
		if n == size {
			return n, nil
		}
	}
	return 0, invalid("%.64q is not a type string that numpy writes", s)
}
