package transcript

import (
	"strings"
	"testing"
)

func TestPlay(t *testing.T) {
	echo := func(words []string) string {
		if words[0] != "echo" {
			return ""
		}
		return strings.Join(words[1:], "+") + "\n"
	}
	want := "# a comment\nset a\n\necho a b\nset b\necho c\n----\na+b\nc\n"
	for name, text := range map[string]string{
		"as it is":            want,
		"without the answers": "# a comment\nset a\n\necho a b\nset b\necho c\n",
		"with other answers":  "# a comment\nset a\n----\nx\n\necho a b\nset b\necho c\n----\ny\n",
	} {
		if got := play(text, echo); got != want {
			t.Errorf("%s: %q instead of %q", name, got, want)
		}
	}
}
