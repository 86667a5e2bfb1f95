package glob

import (
	"strings"
	"testing"
)

// The expected results are those of redis-server's KEYS.
func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"**", "abc", true}, {"a", "a", true}, {"a", "b", false}, {"a", "ab", false},
		{"h?llo", "hello", true}, {"h?llo", "hllo", false}, {"h*llo", "heeeello", true}, {"h*llo", "hell", false}, {"*a*b", "xaxbxb", true},
		{"h[ae]llo", "hello", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
		{"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"h[a-c]llo", "hdllo", false}, {"[a-]", "-", false}, {"[]", "a", false},
		{"[abc", "a", true}, {"[", "[", false}, {`[\]]`, "]", true}, {`a\*`, "a*", true}, {`a\*`, "ab", false}, {`a\`, `a\`, true}, {`\?`, "?", true},
		{"*[0-9]", "key9", true}, {"key:*:x", "key:1:2:x", true}, {"[^]", "a", true},
	} {
		if got := Match([]byte(test.pattern), []byte(test.text)); got != test.want {
			t.Errorf("%q on %q: %v", test.pattern, test.text, got)
		}
	}
	// Other matchers need exponential time for this pattern.
	if Match([]byte(strings.Repeat("*a", 1000)+"b"), []byte(strings.Repeat("a", 10_000))) {
		t.Error("it matches")
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("h[a-c]*\\?", "hbx?")
	f.Add("[^", "")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		Match([]byte(pattern), []byte(text)) // must return, and not panic
		quoted := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(text)
		if !Match([]byte(quoted), []byte(text)) || !Match([]byte("*"+quoted+"*"), []byte("x"+text)) {
			t.Errorf("%q does not match itself", text)
		}
	})
}
