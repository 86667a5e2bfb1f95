// Package pagetest checks that generated pages of docs/ match the code they are made from.
package pagetest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the pages that are made from code")

// Check fails the test if a page of docs/ is not want. With -update it writes the page. Depth is
// how many folders the calling package is below the root.
func Check(t testing.TB, depth int, page, want string) {
	t.Helper()
	path := filepath.Join("docs", page)
	for range depth {
		path = filepath.Join("..", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s does not match the code: run this test with -update", path)
	}
}
