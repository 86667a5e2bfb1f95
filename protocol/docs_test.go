package protocol

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

func TestPageOfCommandsIsTheTable(t *testing.T) {
	const page = "../docs/commands.md"
	want := Markdown()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table says: go test ./protocol -run Page -update", page)
	}
}
