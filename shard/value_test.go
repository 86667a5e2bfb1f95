package shard

import (
	"errors"
	"strings"
	"testing"
)

func TestChecksumCoversTheWholeValue(t *testing.T) {
	f := newFixture(t)
	for name, length := range map[string]int{"within the entry": 3, "in a buffer of its own": 100} {
		t.Run(name, func(t *testing.T) {
			v := f.value(strings.Repeat("n", length))
			if length > 3 {
				v.Buffer = f.pool.Copy(v.NPY)
				v.NPY = v.Buffer.Bytes()
			}
			v.Attrs = []byte(`{"a":1}`)
			v.Parts = []Part{{"mask", f.pool.Copy([]byte("MMM"))}, {"more", f.pool.Copy([]byte("xyz"))}}
			v.CRC = v.Checksum(v.CRC)
			f.Set(Write{Key: []byte("k"), Value: v})
			e := f.Get([]byte("k"), true)
			defer e.Release()
			if err := e.Verify(); err != nil {
				t.Fatal(err)
			}
			nameOfPart := e.buffer().Bytes()[headBytes+len("k")+len(v.Attrs)+1:]
			for what, place := range map[string]*byte{
				"npy": &e.NPY()[1], "attrs": &e.Attrs()[2], "part": &e.Parts()[1].Data.Bytes()[2], "name": &nameOfPart[0],
			} {
				*place ^= 1
				if err := e.Verify(); !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s: %v", what, err)
				}
				*place ^= 1
			}
			if err := e.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckExtras(t *testing.T) {
	for attrs, want := range map[string]error{
		"": nil, "{}": nil, " \n{\"a\": [1, {\"b\": null}]}\n": nil, "[]": ErrAttrs, "1": ErrAttrs, "null": ErrAttrs, "{": ErrAttrs,
		"{} {}": ErrAttrs, "{\"a\": NaN}": ErrAttrs, "{\"\xff\": 1}": ErrAttrs, "\ufeff{}": ErrAttrs,
	} {
		if err := (&Value{Attrs: []byte(attrs)}).CheckExtras(); !errors.Is(err, want) {
			t.Errorf("attrs %q: %v", attrs, err)
		}
	}
	for names, want := range map[string]error{
		"mask": nil, "a-1_z b": nil, "": nil, "Mask": ErrPartName, "a a": ErrPartName, "a.b": ErrPartName, "ä": ErrPartName,
	} {
		var v Value
		for _, name := range strings.Fields(names) {
			v.Parts = append(v.Parts, Part{Name: name})
		}
		if err := v.CheckExtras(); !errors.Is(err, want) {
			t.Errorf("parts %q: %v", names, err)
		}
	}
	if err := (&Value{Parts: []Part{{Name: ""}}}).CheckExtras(); !errors.Is(err, ErrPartName) {
		t.Errorf("a part without a name: %v", err)
	}
}

func TestVersionsAsText(t *testing.T) {
	for _, v := range []Version{{0, 0}, {1764012345678, 17}, {1<<64 - 1, 1<<64 - 1}} {
		if got, err := ParseVersion(v.String()); err != nil || got != v {
			t.Errorf("%v is read as %v, %v", v, got, err)
		}
	}
	for _, bad := range []string{"", "1", "-", "1-", "-1", "1-1-1", "a-1", "1-18446744073709551616", "1--1", " 1-1"} {
		if v, err := ParseVersion(bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q is read as %v, %v", bad, v, err)
		}
	}
	if !(Version{2, 0}).After(Version{1, 9}) || !(Version{1, 2}).After(Version{1, 1}) || (Version{1, 1}).After(Version{1, 1}) || (Version{1, 9}).After(Version{2, 0}) {
		t.Error("After")
	}
}
