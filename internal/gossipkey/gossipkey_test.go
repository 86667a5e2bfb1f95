package gossipkey

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestParseFile(t *testing.T) {
	t.Parallel()
	const a, b = "000102030405060708090a0b0c0d0e0f", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	for text, want := range map[string][]int{
		a: {16}, a + "\n": {16}, b: {32}, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\r\n": {24}, "# the new one\n\n " + b + "\t\n# the old one\n" + a + "\n" + b: {32, 16},
		"": nil, "# " + a: nil, "secret": nil, "00010203": nil, a + "\nsecret": nil, a + " " + b: nil,
	} {
		keys, err := ParseFile([]byte(text))
		var lengths []int
		for _, k := range keys {
			lengths = append(lengths, len(k))
		}
		if !slices.Equal(lengths, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v", text, lengths, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), a)) {
			t.Errorf("%q: the error tells the key: %v", text, err)
		}
	}
	var many strings.Builder
	for range Max + 1 {
		many.WriteString(Text(New()) + "\n")
	}
	if _, err := ParseFile([]byte(many.String())); err == nil {
		t.Errorf("more than %d keys are accepted", Max)
	}
	one, two := New(), New()
	if Fingerprint(one) == Fingerprint(two) || Fingerprint(one) != Fingerprint(bytes.Clone(one)) || Named([][]byte{one, two}, Fingerprint(two)) != 1 || Named(nil, "x") != -1 {
		t.Error("fingerprints do not name keys")
	}
	if strings.Contains(Text(one), Fingerprint(one)) {
		t.Error("the fingerprint is a part of the key")
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("000102030405060708090a0b0c0d0e0f\n# x\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"))
	f.Add([]byte("\x00\r\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		keys, err := ParseFile(content)
		if (err == nil) != (len(keys) > 0) || len(keys) > Max {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		var again strings.Builder
		for _, k := range keys {
			again.WriteString(Text(k) + "\n")
		}
		if back, _ := ParseFile([]byte(again.String())); !slices.EqualFunc(back, keys, bytes.Equal) {
			t.Errorf("%x written and read again: %x", keys, back)
		}
	})
}
