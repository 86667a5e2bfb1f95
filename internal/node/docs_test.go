package node

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/pagetest"
)

func TestPageOfSettingsIsTheTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("# Settings\n\nMade from the settings table (`internal/node/settings.go`) by `go test ./internal/node -run Page -update`.\n\n" +
		"Each setting is a flag (`--http-port 7380`), a variable in the environment (`NDRING_HTTP_PORT=7380`) and a name for `CONFIG GET`. Those marked *live* can be changed while the node runs, " +
		"with `CONFIG SET` on one node or `CLUSTER CONFIG SET` on all ([operating.md](operating.md#changing-settings)). BYTES may end in k, kb, m, mb, g, gb as in Redis: 1k is 1000, 1kb is 1024.\n")
	escape := strings.NewReplacer("|", "\\|").Replace
	for _, g := range settingGroups {
		fmt.Fprintf(&b, "\n## %s\n\n| flag | default | live | meaning |\n| --- | --- | --- | --- |\n", g.title)
		for _, s := range g.settings {
			def, live := "", ""
			if s.def != "" {
				def = "`" + s.def + "`"
			}
			if s.live {
				live = "live"
			}
			fmt.Fprintf(&b, "| `--%s %s` | %s | %s | %s |\n", s.name, escape(s.value), def, live, escape(strings.ToUpper(s.help[:1])+s.help[1:]))
		}
	}
	pagetest.Check(t, 2, "settings.md", b.String())
}

// The page about replication names a test for each promise. A test that is renamed must not leave a promise without one.
func TestPageOfReplicationNamesTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "replication.md"))
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(source, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\bTest\w+`).FindAllString(string(page), -1)
	if len(named) < 10 {
		t.Errorf("the page names only %d tests", len(named))
	}
	for _, name := range named {
		if !there[name] {
			t.Errorf("the page names %s, which does not exist", name)
		}
	}
}
