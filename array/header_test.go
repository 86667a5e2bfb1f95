package array

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// file makes a .npy file from the text of a header and a number of data bytes.
func file(major byte, text string, data int) string {
	b := []byte{0x93, 'N', 'U', 'M', 'P', 'Y', major, 0}
	if major == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	}
	return string(b) + text + strings.Repeat("d", data)
}

func dict(descr, order, shape string) string {
	return fmt.Sprintf("{'descr': %s, 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape)
}

// badHeaders are refused, each for its own reason.
var badHeaders = []struct{ npy, reason string }{
	{"\x94NUMPY\x01\x00", "does not begin with"},
	{"x", "does not begin with"},
	{"PK\x03\x04 a zip file, .npz say", "does not begin with"},
	{file(4, dict("'<f4'", "False", "()"), 4), "version 4.0"},
	{file(0, dict("'<f4'", "False", "()"), 4), "version 0.0"},
	{"\x93NUMPY\x01\x01" + file(1, dict("'<f4'", "False", "()"), 4)[8:], "version 1.1"},
	{file(2, "\xff", 0), "ends too early|not part of a plain literal"},
	{file(3, "{'descr': '\xff'}", 0), "not UTF-8"},
	{file(1, "", 0), "ends too early"},
	{file(1, "{}", 0), "lacks descr"},
	{file(1, "[]", 0), "is a list, not a dict"},
	{file(1, "'text'", 0), "is a string, not a dict"},
	{file(1, "{'descr': '<f4', 'fortran_order': False}", 0), "lacks"},
	{file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'more': 1}", 0), "a key other than"},
	{file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), 1: 1}", 0), "a key other than"},
	{file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'shape': ()}", 0), "the key shape twice"},
	{file(1, dict("'<f4'", "0", "()"), 4), "fortran_order is an integer"},
	{file(1, dict("'<f4'", "'False'", "()"), 4), "fortran_order is a string"},
	{file(1, dict("'<f4'", "None", "()"), 4), "'N' at character"},
	{file(1, dict("'<f4'", "False", "[1]"), 4), "shape is a list"},
	{file(1, dict("'<f4'", "False", "(1)"), 4), "shape is an integer"},
	{file(1, dict("'<f4'", "False", "(-1,)"), 0), "negative"},
	{file(1, dict("'<f4'", "False", "(True,)"), 4), "a dimension is a boolean"},
	{file(1, dict("'<f4'", "False", "('1',)"), 4), "a dimension is a string"},
	{file(1, dict("'<f4'", "False", "(1.0,)"), 4), "'.' at character"},
	{file(1, dict("'<f4'", "False", "(1e3,)"), 4), "'e' at character"},
	{file(1, dict("'<f4'", "False", "(1+1,)"), 4), "'+' at character"},
	{file(1, dict("'<f4'", "False", "(len('a'),)"), 4), "'l' at character"},
	{file(1, dict("'<f4'", "False", "(01,)"), 4), "is not an integer"},
	{file(1, dict("'<f4'", "False", "(-,)"), 4), "is not an integer"},
	{file(1, dict("'<f4'", "False", "(9223372036854775808,)"), 0), "overflows"},
	{file(1, dict("'<f4'", "False", "(9223372036854775807,)"), 0), "the size of the array overflows"},
	{file(1, dict("'<f4'", "False", "(4294967296, 4294967296)"), 0), "the size of the array overflows"},
	{file(1, dict("'<f4'", "False", "(0, 4294967296, 4294967296)"), 0), "the size of the array overflows"},
	{file(1, dict("'|V0'", "False", "(4294967296, 4294967296)"), 0), "the size of the array overflows"},
	{file(1, dict("'<f4'", "False", "("+strings.Repeat("1, ", MaxDims+1)+")"), 4), "65 dimensions"},
	{file(1, dict("'|O'", "False", "(0,)"), 0), "pickle"},
	{file(1, dict("'O'", "False", "(0,)"), 0), "pickle"},
	{file(1, dict("'|O8'", "False", "(0,)"), 0), "pickle"},
	{file(1, dict("[('a', '|O')]", "False", "(0,)"), 0), "pickle"},
	{file(1, dict("[('a', [('b', '<f4'), ('c', '|O', (2,))])]", "False", "(0,)"), 0), "pickle"},
	{file(1, dict("('|O', (2,))", "False", "(0,)"), 0), "pickle"},
	{file(1, dict("'<f3'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("'<f'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("'float32'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("'<i4,<f8'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("'<f4[ms]'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("'<M8[parsec]'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("'|S4294967296'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("'|S-1'", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("''", "False", "(0,)"), 0), "not a type string"},
	{file(1, dict("4", "False", "(0,)"), 0), "descr is neither"},
	{file(1, dict("('<f4',)", "False", "(0,)"), 0), "descr is neither"},
	{file(1, dict("('<f4', 'x')", "False", "(0,)"), 0), "the shape of a subarray is a string"},
	{file(1, dict("('<f4', (-1,))", "False", "(0,)"), 0), "negative"},
	{file(1, dict("['<f4']", "False", "(0,)"), 0), "a field is not a tuple"},
	{file(1, dict("[('a',)]", "False", "(0,)"), 0), "a field is not a tuple"},
	{file(1, dict("[('a', '<f4', 1, 2)]", "False", "(0,)"), 0), "a field is not a tuple"},
	{file(1, dict("[(1, '<f4')]", "False", "(0,)"), 0), "the name of a field is an integer"},
	{file(1, dict("[('a', '<f4'), ('a', '<f4')]", "False", "(0,)"), 0), `two fields have the name or title "a"`},
	{file(1, dict("[('a', '<f4'), (('a', 'b'), '<f4')]", "False", "(0,)"), 0), `two fields have the name or title "a"`},
	{file(1, dict("[('a', '|V2147483647', 2147483647), ('b', '|V2147483647', 2147483647), ('c', '|V2147483647', 2147483647)]", "False", "(0,)"), 0), "overflows"},
	{file(1, dict(strings.Repeat("[", 10_000), "False", "(0,)"), 0), "nests deeper"},
	{file(1, dict(strings.Repeat("(", 10_000), "False", "(0,)"), 0), "nests deeper"},
	{file(1, strings.Repeat("{'descr':", 5_000), 0), "nests deeper"},
	{file(1, "{'descr': '<f4\n'", 0), "is not closed"},
	{file(1, "{'descr': '<f4", 0), "is not closed"},
	{file(1, `{'descr': '\`, 0), "is not closed"},
	{file(1, `{'descr': '\x`, 0), "ends within an escape"},
	{file(1, `{'descr': '\xzz'`, 0), "is not a character"},
	{file(1, `{'descr': '\ud800'`, 0), "is not a character"},
	{file(1, `{'descr': '\U00110000'`, 0), "is not a character"},
	{file(1, "{'descr' '<f4'", 0), "at character"},
	{file(1, "{'descr': '<f4' 'shape'", 0), "at character"},
	{file(1, "{'descr': '<f4',, }", 0), "',' at character"},
	{file(1, "{,}", 0), "',' at character"},
	{file(1, dict("'<f4'", "False", "(,)"), 0), "',' at character"},
	{file(1, dict("'<f4'", "False", "()")+"x", 4), "'x' at character"},
	{file(1, dict("'<f4'", "False", "()")+"{}", 4), "'{' at character"},
	{file(1, dict("'<f4'", "Falsehood", "()"), 4), "'h' at character"},
	{file(1, dict("b'<f4'", "False", "()"), 4), "'b' at character"},
	{file(1, dict("f'<f4'", "False", "()"), 4), "'f' at character"},
	{file(1, dict("'<f4'", "False", "()")[:20]+"\x00"+dict("'<f4'", "False", "()")[20:], 4), "a key other than"},
}

func TestBadHeadersAreRefusedWithTheirReason(t *testing.T) {
	for _, bad := range badHeaders {
		h, err := Parse([]byte(bad.npy))
		if err == nil {
			t.Errorf("%.150q is read as %+v", bad.npy, h)
			continue
		}
		found := !errors.Is(err, ErrInvalid)
		for _, reason := range strings.Split(bad.reason, "|") {
			found = found || strings.Contains(err.Error(), reason)
		}
		if !errors.Is(err, ErrInvalid) || !found {
			t.Errorf("%.150q: %v, want %s", bad.npy, err, bad.reason)
		}
		if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("a long or odd error: %q", err)
		}
	}
}

func TestHeadersOfOtherWriters(t *testing.T) {
	for _, test := range []struct {
		text, descr string
		shape       string
		itemSize    int64
	}{
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "<f4", "[3]", 4},
		{"{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":True}   \n", "<f4", "[2 3]", 4},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4l), }", "<f4", "[3 4]", 4},
		{"{u'descr': u'<f4', 'fortran_order': False, 'shape': ((3), )}", "<f4", "[3]", 4},
		{"{'descr': [('a', '<f4', 3), ('b', ('<i2', (2, 2))), ], 'fortran_order': False, 'shape': ()}", "[('a', '<f4', 3), ('b', ('<i2', (2, 2)))]", "[]", 20},
		{`{'descr': [('\x61\u00e9\t\101\q\'', '|u1')], 'fortran_order': False, 'shape': ()}`, `[("aé\tA\\q'", '|u1')]`, "[]", 1},
	} {
		h, err := Parse([]byte(file(1, test.text, 0)))
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if h.Descr != test.descr || fmt.Sprint(h.Shape) != test.shape || h.ItemSize != test.itemSize {
			t.Errorf("%s: descr %s, shape %v, %d bytes per item", test.text, h.Descr, h.Shape, h.ItemSize)
		}
	}
}

func TestCheckComparesTheSizeOfTheData(t *testing.T) {
	text := dict("'<f8'", "True", "(2, 3)")
	for data, want := range map[int]error{48: nil, 47: ErrInvalid, 49: ErrInvalid, 0: ErrInvalid} {
		if h, err := Check([]byte(file(1, text, data)), 48); !errors.Is(err, want) || err == nil && h.FileBytes() != int64(len(file(1, text, data))) {
			t.Errorf("%d bytes of data: %v", data, err)
		}
	}
	if _, err := Check([]byte(file(1, text, 48)), 47); !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid) {
		t.Errorf("data above the limit: %v", err)
	}
	// The header does not count towards the limit.
	if _, err := Check([]byte(file(2, text+strings.Repeat(" ", 100_000), 48)), 48); err != nil {
		t.Errorf("a long header: %v", err)
	}
	huge := file(1, dict("'<f8'", "False", fmt.Sprintf("(%d,)", math.MaxInt64/8)), 8)
	if _, err := Check([]byte(huge), math.MaxInt64); !errors.Is(err, ErrInvalid) {
		t.Errorf("a size near the limit of int64: %v", err)
	}
}

func TestEveryPrefixIsTruncated(t *testing.T) {
	for _, whole := range []string{file(1, dict("'<f4'", "False", "()"), 4), file(2, dict("[('a', '<f4')]", "False", "()"), 4), file(3, dict("[('ä', '<f4')]", "False", "()"), 4)} {
		h, err := Parse([]byte(whole))
		if err != nil {
			t.Fatal(err)
		}
		for n := range h.DataOffset {
			if _, err := Parse([]byte(whole[:n])); !errors.Is(err, ErrTruncated) {
				t.Errorf("the first %d bytes: %v", n, err)
			}
		}
	}
}

func TestLongHeaders(t *testing.T) {
	text := dict("'<f4'", "False", "()")
	long := func(n int) string { return text + strings.Repeat(" ", n-len(text)) }
	if _, err := Parse([]byte(file(2, long(MaxHeader), 4))); err != nil {
		t.Errorf("a header of 1 MiB: %v", err)
	}
	// Its length alone is enough to refuse it.
	if _, err := Parse([]byte(file(2, long(MaxHeader+1), 4)[:12])); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a header above 1 MiB: %v", err)
	}
	var fields strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&fields, "('field_%d', '<f4'), ", i)
	}
	h, err := Parse([]byte(file(2, dict("["+fields.String()+"]", "False", "(2,)"), 0)))
	if err != nil || h.ItemSize != 80_000 {
		t.Errorf("20,000 fields: %v", err)
	}
}

func BenchmarkParse(b *testing.B) {
	npy := []byte(file(1, dict("'<f4'", "False", "(1024, 1024)"), 0))
	for b.Loop() {
		if _, err := Parse(npy); err != nil {
			b.Fatal(err)
		}
	}
}
