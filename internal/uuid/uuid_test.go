package uuid

import (
	"strings"
	"testing"
)

func TestParseReadsWhatStringWrites(t *testing.T) {
	t.Parallel()
	for _, u := range []UUID{{1, 0xfe}, New()} {
		if len(u.String()) != Digits || u.IsZero() {
			t.Errorf("%q has not %d digits, or is zero", u, Digits)
		}
		for _, parse := range []func(string) (UUID, error){Parse, ParseOptional} {
			if got, err := parse(u.String()); err != nil || got != u {
				t.Errorf("%q is read as %v, %v", u, got, err)
			}
		}
	}
	if a, b := New(), New(); a == b {
		t.Error("two new ids are equal")
	}
}

func TestParseRejectsOtherText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"01", strings.Repeat("g", 32), strings.Repeat("0", 34), strings.Repeat("0", 31) + "g"} {
		for _, parse := range []func(string) (UUID, error){Parse, ParseOptional} {
			if got, err := parse(text); err == nil || !got.IsZero() {
				t.Errorf("%q is read as %v, %v", text, got, err)
			}
		}
	}
}

func TestOnlyParseOptionalReadsNothing(t *testing.T) {
	t.Parallel()
	if got, err := Parse(""); err == nil || !got.IsZero() {
		t.Errorf("Parse returns %v, %v", got, err)
	}
	if got, err := ParseOptional(UUID{}.String()); err != nil || !got.IsZero() {
		t.Errorf("ParseOptional returns %v, %v", got, err)
	}
}
