// Package transcript runs the tests that are written as transcripts: commands, and what they come to.
package transcript

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the transcripts come to instead of comparing it: read the difference before it is kept")

// Test plays each file testdata/*.txt, of which there must be at least as many as said, in a test of
// its own. A file has blocks with an empty line between them. A block is commands, one a line, and
// comments, which begin with #; where commands answer, a line "----" and the answers follow.
//
// Start returns what carries out a command, given as words, and returns its answer.
func Test(t *testing.T, least int, start func(t *testing.T) func(words []string) string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < least {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(text), start(t))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s: it comes to\n%s", file, got)
			}
		})
	}
}

// play returns the text with the answers that its commands give now.
func play(text string, command func(words []string) string) string {
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		commands, _, _ := strings.Cut(block+"\n", "----\n")
		out.WriteString(commands)
		var answers strings.Builder
		for _, line := range strings.Split(commands, "\n") {
			if line != "" && line[0] != '#' {
				answers.WriteString(command(strings.Fields(line)))
			}
		}
		if answers.Len() > 0 {
			out.WriteString("----\n" + answers.String())
		}
	}
	return out.String()
}
