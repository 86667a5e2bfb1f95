package arch

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/ndring/ndring"

// anything is the row of the package that wires all the others together.
const anything = "*"

// arrows lists, for every ndring package, the ndring packages that it may import. Arrows point down
// only. A row without a package is a plan.
//
// Test files are exempt: the test of a low package may start a whole node.
var arrows = map[string][]string{
	"cmd/node":          {"internal/node", "internal/ndctl"},
	"cmd/ndctl":         {"internal/ndctl"},
	"internal/node":     {anything},
	"internal/ndctl":    {"internal/certs", "internal/gossipkey", "internal/datafolder", "cluster/topology", "array", "internal/crc32c", "cluster/view"},
	"internal/arch":     {},
	"internal/loadtest": {},
	"e2e":               {"internal/loadtest"},
	"e2e/goredis":       {"internal/loadtest"},
	"internal/resptest": {},
	"internal/slowtest": {},
	"internal/pagetest": {},
	"internal/outcome":  {},
	"internal/uuid":     {},
	"internal/boottime": {},
	"internal/waitlock": {},
	"internal/fair":     {},
	"internal/crc32c":   {"internal/fair"},
	"protocol":          {"protocol/acl", "protocol/command", "protocol/resp", "protocol/glob", "protocol/tracking", "shard", "cluster/topology", "array", "memory", "internal/outcome", "internal/crc32c", "cluster/view"},
	"protocol/acl":      {"protocol/command", "protocol/glob"},
	"protocol/command":  {"protocol/resp"},
	"protocol/resp":     {"memory", "internal/crc32c", "internal/fair"},
	"protocol/glob":     {},
	"protocol/tracking": {},
	"protocol/bus":      {"cluster/topology", "internal/certs", "internal/outcome", "internal/uuid", "internal/crc32c"},
	"shard":             {"persistence", "replica", "cluster/topology", "array", "memory", "internal/outcome", "internal/crc32c", "internal/boottime", "internal/waitlock"},
	"replica":           {},
	"replication":       {"shard", "replica", "persistence", "internal/crc32c", "internal/fair"},
	"shard/reconcile":   {"shard", "replica", "cluster/topology", "internal/outcome"},
	"replica/model":     {},
	"cluster":           {"cluster/topology", "cluster/screen", "cluster/view", "internal/gossipkey", "internal/outcome", "internal/uuid"},
	"cluster/screen":    {},
	"cluster/view":      {"cluster/topology"},
	"cluster/topology":  {},
	"array":             {},
	"persistence":       {"persistence/vfs", "internal/uuid", "internal/crc32c"},
	"persistence/vfs":   {"internal/fair"},
	"memory":            {},

	"internal/follow":     {},
	"internal/certs":      {"internal/follow"},
	"internal/gossipkey":  {},
	"internal/transcript": {},
	"internal/datafolder": {"cluster", "cluster/topology", "persistence", "persistence/vfs"},
}

// fenced lists the packages that may import certain third-party modules: gossip and consensus stay
// behind one door, so a shard or a command never waits for either.
var fenced = map[string][]string{
	"github.com/hashicorp/": {"cluster", "cluster/screen", "internal/node"},
}

// sockets lists the packages that may touch a socket: clients (protocol accepts, resp reads and writes), the bus, gossip and
// raft, the node that opens the ports, and the programs that connect to nodes.
var sockets = []string{"replication", "protocol", "protocol/resp", "protocol/bus", "cluster", "cluster/screen", "internal/node", "internal/ndctl", "internal/loadtest", "e2e/goredis"}

// longFiles gives the reason for each hand-written file with more than maxLines lines.
var longFiles = map[string]string{}

// longFunctions gives the reason for each function with more than maxFunctionLines lines.
var longFunctions = map[string]string{
	"protocol.commandRows":      "a table",
	"bench/eviction.bySampling": "a table",
}

const (
	maxLines         = 500 // of a file
	maxFunctionLines = 60  // of a function that is not a test
	maxMethods       = 25  // of a type
)

func TestHouseRules(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("this is not the root of the module: %v", err)
	}
	packages, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 2 {
		t.Fatalf("found only %d packages: the walk looks in the wrong place", len(packages))
	}
	for _, v := range violations(packages) {
		t.Error(v)
	}
	for _, p := range benchmarks(t, root) {
		p.checkSizes(t.Errorf)
	}
}

// benchmarks returns the packages of bench, a module of its own, of which only the sizes are checked.
func benchmarks(t *testing.T, root string) []pkg {
	packages, err := load(filepath.Join(root, "bench"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range packages {
		packages[i].name = path.Join("bench", packages[i].name)
	}
	return packages
}

// A reason must go with the function or file that it excuses.
func TestReasonsAreNeeded(t *testing.T) {
	root := filepath.Join("..", "..")
	packages, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	files, functions := map[string]int{}, map[string]int{}
	for _, p := range append(packages, benchmarks(t, root)...) {
		for _, f := range p.files {
			files[f.path] = f.lines
			for _, fn := range f.functions {
				functions[p.name+"."+fn.name] = max(functions[p.name+"."+fn.name], fn.lines)
			}
		}
	}
	for name := range longFiles {
		if files[name] <= maxLines {
			t.Errorf("%s has %d lines: remove it from longFiles", name, files[name])
		}
	}
	for name := range longFunctions {
		if functions[name] <= maxFunctionLines {
			t.Errorf("%s has %d lines: remove it from longFunctions", name, functions[name])
		}
	}
}

// The table itself must keep gossip and consensus out of reach of shard and protocol.
func TestTableKeepsItsPromises(t *testing.T) {
	reach := func(from string) map[string]bool {
		seen := map[string]bool{}
		var visit func(string)
		visit = func(p string) {
			for _, next := range arrows[p] {
				if !seen[next] {
					seen[next] = true
					visit(next)
				}
			}
		}
		visit(from)
		return seen
	}
	for name, row := range arrows {
		if reach(name)[name] {
			t.Errorf("%s reaches itself", name)
		}
		for _, to := range row {
			if _, ok := arrows[to]; to != anything && !ok {
				t.Errorf("the row of %s names %s, which has no row", name, to)
			}
		}
	}
	for name := range arrows {
		if strings.HasPrefix(name, "protocol/") && reach(name)["protocol"] {
			t.Errorf("the table lets %s reach protocol, which is built on it", name)
		}
	}
	for _, low := range []string{"protocol", "shard"} {
		for _, high := range []string{"cluster", "internal/node", anything} {
			if reach(low)[high] {
				t.Errorf("the table lets %s reach %s", low, high)
			}
		}
	}
}

// A test that cannot fail is not a test: each rule is broken once, in made-up sources.
func TestCheckerFinds(t *testing.T) {
	const doc = "// Package shard is here.\n"
	for _, tc := range []struct {
		name, file, source, want string
	}{
		{"nothing to find", "shard/a.go", doc + "package shard\nimport (\n\"os\"\n\"" + module + "/array\"\n)\nvar _, _ = os.Open, array.X", ""},
		{"an arrow upwards", "shard/a.go", doc + "package shard\nimport _ \"" + module + "/protocol\"", "shard may not import protocol"},
		{"an arrow upwards, on another system only", "shard/a_plan9.go", doc + "package shard\nimport _ \"" + module + "/cluster\"", "shard may not import cluster"},
		{"an arrow of a test", "shard/a_test.go", "package shard\nimport _ \"" + module + "/internal/node\"", ""},
		{"no row", "gizmo/a.go", "// Package gizmo is new.\npackage gizmo", "gizmo has no row"},
		{"the root package has no row either", "a.go", "// Package ndring is new.\npackage ndring", ". has no row"},
		{"fenced module", "protocol/a.go", "// Package protocol is here.\npackage protocol\nimport _ \"github.com/hashicorp/raft\"", "protocol may not import github.com/hashicorp/raft"},
		{"fenced module behind its door", "cluster/a.go", "// Package cluster is here.\npackage cluster\nimport _ \"github.com/hashicorp/raft\"", ""},
		{"a socket", "shard/a.go", doc + "package shard\nimport \"net\"\nvar c net.Conn", "shard/a.go:4: net.Conn: shard may not touch a socket"},
		{"an address", "shard/a.go", doc + "package shard\nimport \"net\"\nvar a net.Addr", ""},
		{"a socket of a package that may", "cluster/a.go", "// Package cluster is here.\npackage cluster\nimport \"net\"\nvar c net.Conn", ""},
		{"os.Exit", "shard/a.go", doc + "package shard\nimport \"os\"\nfunc f() { os.Exit(1) }", "shard/a.go:4: only main may end the process, not os.Exit"},
		{"log.Fatalf under another name", "shard/a.go", doc + "package shard\nimport l \"log\"\nfunc f() { l.Fatalf(\"\") }", "only main may end the process, not log.Fatalf"},
		{"os.Exit as a value", "shard/a.go", doc + "package shard\nimport \"os\"\nvar quit = os.Exit", "not os.Exit"},
		{"os.Exit in a main", "cmd/node/main.go", "// Command ndring is here.\npackage main\nimport \"os\"\nfunc main() { os.Exit(1) }", ""},
		{"os.Exit in a main of a test", "e2e/goredis/main.go", "// Command goredis is here.\npackage main\nimport \"os\"\nfunc main() { os.Exit(1) }", ""},
		{"os.Exit in a TestMain", "shard/a_test.go", "package shard\nimport \"os\"\nfunc f() { os.Exit(1) }", ""},
		{"no package comment", "shard/a.go", "package shard", "shard has no package comment"},
		{"a comment that is not a package comment", "shard/a.go", "// Copyright.\n\npackage shard", "shard has no package comment"},
		{"a package comment of another package", "shard/a.go", "// Package array is here.\npackage shard", "shard has no package comment"},
		{"a long file", "shard/a.go", doc + "package shard\n" + strings.Repeat("\n", maxLines), "shard/a.go has 502 lines"},
		{"a long test file", "shard/a_test.go", "package shard\n" + strings.Repeat("\n", maxLines), "shard/a_test.go has 501 lines"},
		{"a long function", "shard/a.go", doc + "package shard\nfunc f() {\n" + strings.Repeat("\n", maxFunctionLines) + "}", "shard/a.go:3: f has 62 lines"},
		{"a long function in a test", "shard/a_test.go", "package shard\nfunc f() {\n" + strings.Repeat("\n", maxFunctionLines) + "}", ""},
		{"a type with many methods", "shard/a.go", doc + "package shard\ntype T[X any] struct{}\n" + strings.Repeat("func (t *T[X]) _() {}\n", maxMethods+1), "shard: T has 26 methods"},
		{"a type with as many methods as allowed", "shard/a.go", doc + "package shard\ntype T struct{}\n" + strings.Repeat("func (t T) _() {}\n", maxMethods), ""},
		{"a long generated file", "shard/a.go", doc + "// Code generated by a tool. DO NOT EDIT.\n\n" + doc + "package shard\n" + strings.Repeat("\n", maxLines), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			at := filepath.Join(root, filepath.FromSlash(tc.file))
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(tc.source), 0o644); err != nil {
				t.Fatal(err)
			}
			packages, err := load(root)
			if err != nil {
				t.Fatal(err)
			}
			if len(packages) != 1 {
				t.Fatalf("loaded %d packages, want 1", len(packages))
			}
			got := violations(packages)
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("found %q, want nothing", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("found %q, want one that contains %q", got, tc.want)
			}
		})
	}
}
