package array

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// sliced returns the shape and the data of a slice of a file.
func sliced(t *testing.T, npy, text string) (string, string) {
	t.Helper()
	h, err := Parse([]byte(npy))
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Slice(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var out []byte
	s.Copy([]byte(npy), func(n int) []byte { out = make([]byte, n); return out })
	got, err := Check(out, 1<<20)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got.DataOffset%64 != 0 || got.Descr != h.Descr || got.Fortran != h.Fortran {
		t.Errorf("%s: %+v of %+v", text, got, h)
	}
	return fmt.Sprint(got.Shape), string(out[got.DataOffset:])
}

func TestSlices(t *testing.T) {
	matrix := file(1, dict("'|u1'", "False", "(2, 5)"), 0) + "abcdefghij"
	fortran := file(1, dict("'|u1'", "True", "(2, 5)"), 0) + "abcdefghij" // columns ab cd ef gh ij
	for _, test := range []struct{ npy, slice, shape, data string }{
		{matrix, ":", "[2 5]", "abcdefghij"},
		{matrix, ":,:", "[2 5]", "abcdefghij"},
		{matrix, "1:", "[1 5]", "fghij"},
		{matrix, "0:1,1:3", "[1 2]", "bc"},
		{matrix, ":,::2", "[2 3]", "acefhj"},
		{matrix, "::-1,::-2", "[2 3]", "jhfeca"},
		{matrix, ":,-2:", "[2 2]", "deij"},
		{matrix, ":,-100:100", "[2 5]", "abcdefghij"},
		{matrix, ":,3:1", "[2 0]", ""},
		{matrix, ":,3:0:-1", "[2 3]", "dcbihg"},
		{matrix, "5:9", "[0 5]", ""},
		{matrix, " 0:1 , 4:", "[1 1]", "e"},
		{matrix, ":,::9223372036854775807", "[2 1]", "af"},
		{matrix, ":,::-9223372036854775808", "[2 1]", "ej"},
		{matrix, ":,-9223372036854775808:9223372036854775807", "[2 5]", "abcdefghij"},
		{matrix, ":,-99999999999999999999:99999999999999999999", "[2 5]", "abcdefghij"},
		{matrix, ":,99999999999999999999:", "[2 0]", ""},
		{matrix, ":,:-99999999999999999999", "[2 0]", ""},
		{matrix, ":,1::99999999999999999999", "[2 1]", "bg"},
		{matrix, ":,::-99999999999999999999", "[2 1]", "ej"},
		{matrix, ":,99999999999999999999:-99999999999999999999:-1", "[2 5]", "edcbajihgf"},
		{fortran, "1:", "[1 5]", "bdfhj"},
		{fortran, ":,1:3", "[2 2]", "cdef"},
		{fortran, "::-1,:", "[2 5]", "badcfehgji"},
		{file(1, dict("[('a', '|u1'), ('b', '|S2')]", "False", "(3,)"), 0) + "aBBcDDeFF", "1:", "[2]", "cDDeFF"},
		{file(3, dict("[('é', '|u1')]", "False", "(3,)"), 0) + "abc", ":2", "[2]", "ab"},
		{file(1, dict("'<U0'", "False", "(3,)"), 0), "1:", "[2]", ""},
	} {
		if shape, data := sliced(t, test.npy, test.slice); shape != test.shape || data != test.data {
			t.Errorf("%s: %s %q, want %s %q", test.slice, shape, data, test.shape, test.data)
		}
	}
}

func TestBadSlices(t *testing.T) {
	h, err := Parse([]byte(file(1, dict("'|u1'", "False", "(2, 5)"), 10)))
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := Parse([]byte(file(1, dict("'|u1'", "False", "()"), 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "1", "1,2", ":,:,:", "::0", "::::", "a:", ":1.5", "0x1:", "::-0", "::000000000000000000000000", ":9999999999999999999x", ":,", "...", strings.Repeat(":", 5000)} {
		if _, err := h.Slice(text); !errors.Is(err, ErrSlice) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := scalar.Slice(":"); !errors.Is(err, ErrSlice) {
		t.Errorf("a slice of a 0-d array: %v", err)
	}
}

// randomArray is a .npy file of bytes.
type randomArray struct {
	npy, fortran string
	shape        []int
}

func newRandomArray(random *rand.Rand) *randomArray {
	r := &randomArray{fortran: []string{"False", "True"}[random.IntN(2)]}
	size := 1
	for range 1 + random.IntN(4) {
		n := random.IntN(6)
		r.shape, size = append(r.shape, n), size*n
	}
	r.npy = file(1, dict("'|u1'", r.fortran, "("+strings.ReplaceAll(strings.Trim(fmt.Sprint(r.shape), "[]"), " ", ", ")+",)"), 0)
	for i := range size {
		r.npy += string(rune('!' + i%90))
	}
	return r
}

// elements returns the elements at the picked indices of each axis, in the order of the file, by a walk over all of them.
func (r *randomArray) elements(picked [][]int) string {
	var found strings.Builder
	size := 1
	axes := make([]int, len(r.shape)) // the slowest first
	for i, n := range r.shape {
		size *= n
		if axes[i] = i; r.fortran == "True" {
			axes[i] = len(r.shape) - 1 - i
		}
	}
	var walk func(depth, at int)
	walk = func(depth, at int) {
		if depth == len(axes) {
			found.WriteByte(r.npy[len(r.npy)-size+at])
			return
		}
		for _, k := range picked[axes[depth]] {
			walk(depth+1, at*r.shape[axes[depth]]+k)
		}
	}
	walk(0, 0)
	return found.String()
}

// Random slices of random arrays match an element by element walk.
func TestSlicesOfAnyShape(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		r := newRandomArray(random)
		var parts []string
		picked := make([][]int, len(r.shape))
		for i, n := range r.shape {
			start, step, count := random.IntN(n+1), 1+random.IntN(3), 0
			for at := start; at < n; at += step {
				picked[i] = append(picked[i], at)
				count++
			}
			parts = append(parts, fmt.Sprintf("%d::%d", start, step))
		}
		if _, data := sliced(t, r.npy, strings.Join(parts, ",")); data != r.elements(picked) {
			t.Fatalf("shape %v, fortran %s, %v: %q, want %q", r.shape, r.fortran, parts, data, r.elements(picked))
		}
	}
}

// FuzzSlice checks that any text yields an error or a valid file no larger than the array.
func FuzzSlice(f *testing.F) {
	for _, text := range []string{":", "1:2,::-1", "::9223372036854775807,-5:", "-9223372036854775808::-9223372036854775808", " 1 : 2 ", "3:1,,"} {
		f.Add(text, uint8(3), uint8(0), uint8(5), true)
	}
	f.Fuzz(func(t *testing.T, text string, a, b, c uint8, fortran bool) {
		order := "False"
		if fortran {
			order = "True"
		}
		npy := []byte(file(1, dict("'<i2'", order, fmt.Sprintf("(%d, %d, %d)", a%16, b%16, c%16)), 2*int(a%16)*int(b%16)*int(c%16)))
		h, err := Check(npy, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.Slice(text)
		if err != nil {
			if !errors.Is(err, ErrSlice) {
				t.Fatal(err)
			}
			return
		}
		var out []byte
		s.Copy(npy, func(n int) []byte { out = make([]byte, n); return out })
		got, err := Check(out, h.DataBytes())
		if err != nil {
			t.Fatalf("%q of %v: %v", text, h.Shape, err)
		}
		for i, n := range got.Shape {
			if n > h.Shape[i] {
				t.Errorf("%q of %v has shape %v", text, h.Shape, got.Shape)
			}
		}
	})
}
