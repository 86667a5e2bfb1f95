// Package pagetest holds pages of docs/ to the code that they are made from.
package pagetest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the pages that are made from code anew")

// Check holds that a page of docs/ has a text. With -update it writes the page. The test that calls it is in a package that lies so many folders below the root.
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
		t.Errorf("%s is not what the code says: run this test with -update", path)
	}
}
