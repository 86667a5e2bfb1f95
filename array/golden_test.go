package array

import (
	"bufio"
	encodinghex "encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// golden is a header and what numpy reads from it. testdata/make_headers.py writes these.
type golden struct {
	Header  string // hexadecimal
	Written bool   // by numpy itself, not a mutation of what it wrote
	Read    *struct {
		Shape    []int64
		Fortran  bool
		ItemSize int64
		Offset   int64
		Descr    string
	} // nil when numpy refuses it
}

func readGolden(t testing.TB, each func(header []byte, g golden)) {
	t.Helper()
	for _, version := range []string{"1.24", "2.2"} {
		file, err := os.Open("testdata/headers-numpy" + version + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for first := true; lines.Scan(); first = false {
			if first {
				if want := `{"numpy": "` + version; !strings.HasPrefix(lines.Text(), want) {
					t.Fatalf("%s begins with %s", file.Name(), lines.Text())
				}
				continue
			}
			var g golden
			if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
				t.Fatal(err)
			}
			header, err := encodinghex.DecodeString(g.Header)
			if err != nil {
				t.Fatal(err)
			}
			each(header, g)
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// stricter matches the errors for what numpy reads but never writes: Python beyond the plain
// literals of a header (comments, 0x10, 1_0, +7), fields that are lists, dtypes under other names.
// They are refused on purpose: fewer forms mean fewer misreadings.
var stricter = regexp.MustCompile(`'[#_x+]' at character \d+ of its header|a field is not a tuple|is not a type string that numpy writes`)

func TestHeadersReadAsNumpyReadsThem(t *testing.T) {
	written, accepted, refused := 0, 0, 0
	readGolden(t, func(header []byte, g golden) {
		h, err := Parse(header)
		switch {
		case g.Read == nil && err == nil:
			t.Errorf("numpy refuses, Parse reads %+v: %q", h, header)
		case g.Read == nil:
			refused++
		case err != nil && (g.Written || !stricter.MatchString(err.Error())):
			t.Errorf("numpy reads %+v, Parse: %v: %.300q", *g.Read, err, header)
		case err == nil:
			accepted++
			if g.Written {
				written++
			}
			want := Header{Major: header[6], Descr: g.Read.Descr, Fortran: g.Read.Fortran, Shape: g.Read.Shape,
				ItemSize: g.Read.ItemSize, DataOffset: g.Read.Offset, size: h.size}
			if !reflect.DeepEqual(*h, want) {
				t.Errorf("Parse reads %+v\nnumpy reads %+v", *h, want)
			}
		}
	})
	if written < 200 || accepted < 400 || refused < 400 {
		t.Errorf("read %d headers by numpy and %d in all, refused %d: too few for a test", written, accepted, refused)
	}
}

// FuzzParse checks that a header that is read is sound, whatever the bytes are.
func FuzzParse(f *testing.F) {
	readGolden(f, func(header []byte, g golden) {
		if g.Written {
			f.Add(header)
		}
	})
	for _, bad := range badHeaders {
		f.Add([]byte(bad.npy))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("an error without a sentinel: %v", err)
			}
			return
		}
		size := int64(1)
		for _, n := range h.Shape {
			if n < 0 {
				t.Fatalf("a negative dimension: %v", h.Shape)
			}
			size *= n
		}
		if size != h.Size() || h.ItemSize < 0 || h.DataBytes() < 0 || h.FileBytes() < h.DataOffset || h.DataOffset > int64(len(b)) || len(h.Shape) > MaxDims {
			t.Fatalf("unsound: %+v", h)
		}
		again, err := Parse(b[:h.DataOffset])
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Fatalf("without the data it is read as %+v, %v", again, err)
		}
		if _, err := Parse(b[:h.DataOffset-1]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("without its last byte: %v", err)
		}
		text := h.Descr
		if text == "" || text[0] != '[' && text[0] != '(' {
			var quoted strings.Builder
			reprString(&quoted, text)
			text = quoted.String()
		}
		descr, err := parseLiteral(text)
		if err != nil {
			t.Fatalf("descr %q: %v", h.Descr, err)
		}
		if n, err := itemSize(&descr); err != nil || n != h.ItemSize {
			t.Fatalf("descr %q has items of %d bytes, %v; want %d", h.Descr, n, err, h.ItemSize)
		}
	})
}
