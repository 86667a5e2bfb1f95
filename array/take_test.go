package array

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// taken returns the shape and the data of what is taken from a file.
func taken(t *testing.T, npy, axis, indices string) (string, string) {
	t.Helper()
	h, err := Parse([]byte(npy))
	if err != nil {
		t.Fatal(err)
	}
	part, err := h.Take(axis, indices, 1<<20)
	if err != nil {
		t.Fatalf("%s, %s: %v", axis, indices, err)
	}
	var out []byte
	part.Copy([]byte(npy), func(n int) []byte { out = make([]byte, n); return out })
	got, err := Check(out, 1<<20)
	if err != nil {
		t.Fatalf("%s, %s: %v", axis, indices, err)
	}
	if got.DataOffset%64 != 0 || got.Descr != h.Descr || got.Fortran != h.Fortran {
		t.Errorf("%s, %s: %+v of %+v", axis, indices, got, h)
	}
	return fmt.Sprint(got.Shape), string(out[got.DataOffset:])
}

func TestTake(t *testing.T) {
	matrix := file(1, dict("'|u1'", "False", "(2, 5)"), 0) + "abcdefghij"
	fortran := file(1, dict("'|u1'", "True", "(2, 5)"), 0) + "abcdefghij" // columns ab cd ef gh ij
	for _, test := range []struct{ npy, axis, indices, shape, data string }{
		{matrix, "0", "1,0,1", "[3 5]", "fghijabcdefghij"},
		{matrix, "0", "-1", "[1 5]", "fghij"},
		{matrix, "1", "4,0,-2", "[2 3]", "eadjfi"},
		{matrix, "-1", " 1 , 2 ", "[2 2]", "bcgh"},
		{matrix, "-2", "0", "[1 5]", "abcde"},
		{matrix, "0", "", "[0 5]", ""},
		{fortran, "0", "1,1", "[2 5]", "bbddffhhjj"},
		{fortran, "1", "4,0", "[2 2]", "ijab"},
		{file(1, dict("[('a', '|u1'), ('b', '|S2')]", "False", "(3,)"), 0) + "aBBcDDeFF", "0", "2,0", "[2]", "eFFaBB"},
		{file(1, dict("'<U0'", "False", "(3,)"), 0), "0", "2,2", "[2]", ""},
		{file(1, dict("'|u1'", "False", "(2, 0)"), 0), "0", "1,0,1", "[3 0]", ""},
	} {
		if shape, data := taken(t, test.npy, test.axis, test.indices); shape != test.shape || data != test.data {
			t.Errorf("axis %s, %s: %s %q, want %s %q", test.axis, test.indices, shape, data, test.shape, test.data)
		}
	}
}

func TestBadTakes(t *testing.T) {
	h, err := Parse([]byte(file(1, dict("'|u1'", "False", "(2, 5)"), 10)))
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := Parse([]byte(file(1, dict("'|u1'", "False", "()"), 1)))
	if err != nil {
		t.Fatal(err)
	}
	nothing, err := Parse([]byte(file(1, dict("'|u1'", "False", "(2, 0)"), 0)))
	if err != nil {
		t.Fatal(err)
	}
	huge, err := Parse([]byte(file(1, dict("'|u1'", "False", "(2, 0, 1152921504606846976)"), 0)))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		of            *Header
		axis, indices string
		want          error
	}{
		{h, "2", "0", ErrIndices}, {h, "-3", "0", ErrIndices}, {h, "", "0", ErrIndices}, {h, "x", "0", ErrIndices}, {h, "99999999999999999999", "0", ErrIndices},
		{h, "0", ",", ErrIndices}, {h, "0", "1,", ErrIndices}, {h, "0", "1.5", ErrIndices}, {h, "0", "0x1", ErrIndices}, {h, "0", "1 0", ErrIndices},
		{h, "0", strings.Repeat("0,", MaxIndices) + "0", ErrIndices},
		{h, "0", "2", ErrBounds}, {h, "0", "-3", ErrBounds}, {h, "1", "0,5", ErrBounds}, {h, "0", "99999999999999999999", ErrBounds}, {h, "0", "-9223372036854775808", ErrBounds},
		{nothing, "1", "0", ErrBounds},
		{scalar, "0", "0", ErrBounds}, {h, "2", "0", ErrBounds}, {h, "-9999999999999999999999", "0", ErrBounds}, {scalar, "0", "0", ErrIndices}, {scalar, "-1", "", ErrIndices},
		{h, "0", "0,1,0,1", ErrTooLarge},
		{huge, "0", "0,1,0,1,0,1,0,1", ErrTooLarge},
	} {
		if _, err := test.of.Take(test.axis, test.indices, 19); !errors.Is(err, test.want) {
			t.Errorf("axis %.20q, %.20q: %v, want %v", test.axis, test.indices, err, test.want)
		}
	}
	if _, err := h.Take("0", strings.Repeat("0,", MaxIndices-1)+"0", 1<<20); err != nil {
		t.Errorf("%d indices: %v", MaxIndices, err)
	}
	if _, err := h.Take("0", "0,1,0", 15); err != nil {
		t.Errorf("15 bytes of at most 15: %v", err)
	}
}

// What is taken from random arrays matches an element by element walk.
func TestTakesOfAnyShape(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		r := newRandomArray(random)
		axis := random.IntN(len(r.shape))
		var texts []string
		picked := make([][]int, len(r.shape))
		for i, n := range r.shape {
			if i != axis {
				for at := range n {
					picked[i] = append(picked[i], at)
				}
				continue
			}
			for range random.IntN(5) {
				if n > 0 {
					at := random.IntN(n)
					picked[i] = append(picked[i], at)
					texts = append(texts, fmt.Sprint(at-n*random.IntN(2)))
				}
			}
		}
		axisText := fmt.Sprint(axis - len(r.shape)*random.IntN(2))
		if _, data := taken(t, r.npy, axisText, strings.Join(texts, ",")); data != r.elements(picked) {
			t.Fatalf("shape %v, fortran %s, axis %s, %v: %q, want %q", r.shape, r.fortran, axisText, texts, data, r.elements(picked))
		}
	}
}

// FuzzTake checks that any text yields an error, or a valid file with that many elements along the axis and no more bytes than allowed.
func FuzzTake(f *testing.F) {
	for _, text := range []string{"", "0", "1,-1, 0", "5", "-9223372036854775808", "99999999999999999999", ",", "0,,0"} {
		f.Add("1", text, uint8(3), uint8(2), uint8(5), true)
	}
	f.Add("-3", "0,0,0,0,0,0", uint8(3), uint8(0), uint8(5), false)
	f.Fuzz(func(t *testing.T, axis, text string, a, b, c uint8, fortran bool) {
		order := "False"
		if fortran {
			order = "True"
		}
		npy := []byte(file(1, dict("'<i2'", order, fmt.Sprintf("(%d, %d, %d)", a%16, b%16, c%16)), 2*int(a%16)*int(b%16)*int(c%16)))
		h, err := Check(npy, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		const most = 10_000
		part, err := h.Take(axis, text, most)
		if err != nil {
			if !errors.Is(err, ErrIndices) && !errors.Is(err, ErrBounds) && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		var out []byte
		part.Copy(npy, func(n int) []byte { out = make([]byte, n); return out })
		got, err := Check(out, most)
		if err != nil {
			t.Fatalf("axis %q, %q of %v: %v", axis, text, h.Shape, err)
		}
		for i, n := range got.Shape {
			if i == part.axis {
				if n != int64(len(part.indices)) {
					t.Errorf("axis %q, %q of %v has shape %v", axis, text, h.Shape, got.Shape)
				}
			} else if n != h.Shape[i] {
				t.Errorf("axis %q, %q of %v has shape %v", axis, text, h.Shape, got.Shape)
			}
		}
	})
}
