package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
)

// runTool runs a program that must exit with 0, and returns both of its outputs.
func runTool(t *testing.T, stdin, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(path), args, err, out)
	}
	return string(out)
}

func TestRedisCLIAgainstThreeNodes(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	cli, nodes := tool(t, "redis-cli"), openCluster(t, 3)
	for _, protocol := range []string{"-2", "-3"} {
		for _, owner := range nodes {
			key := keysOf(t, owner, 1)[0]
			for i, n := range nodes {
				ask := func(stdin string, args ...string) string {
					return runTool(t, stdin, cli, append([]string{"-c", protocol, "-p", portOf(t, n)}, args...)...)
				}
				before := redirects(t, nodes)
				if out := ask(array, "-x", "NP.SET", key); out != "OK\n" {
					t.Errorf("%s NP.SET by node %d: %q", protocol, i, out)
				}
				if out := ask("", "NP.GET", key); out != array+"\n" {
					t.Errorf("%s NP.GET by node %d: %q", protocol, i, out)
				}
				if out := ask("", "NP.SHAPE", key); out != "4\n" {
					t.Errorf("%s NP.SHAPE by node %d: %q", protocol, i, out)
				}
				want := 3
				if n == owner {
					want = 0
				}
				if got := redirects(t, nodes) - before; got != want {
					t.Errorf("%d redirects of three commands, want %d", got, want)
				}
			}
		}
	}
	// Several keys in one session: the client moves from node to node.
	var script, want strings.Builder
	for i := range 3 {
		for j, n := range nodes {
			if i+j > 0 {
				fmt.Fprintf(&want, "-> Redirected to slot [%d] located at %s\n", topology.Slot([]byte(keysOf(t, n, 1)[0])), n.ClientAddrs()[0])
			}
			fmt.Fprintf(&script, "NP.DTYPE %s\n", keysOf(t, n, 1)[0])
			want.WriteString("<i2\n")
		}
	}
	if out := runTool(t, script.String(), cli, "-c", "-p", portOf(t, nodes[0])); out != want.String() {
		t.Errorf("commands from a file: %q", out)
	}
}

var (
	masterLine = regexp.MustCompile(`(?m)^(127\.0\.0\.1:\d+) \(([0-9a-f]{8})\.\.\.\) -> (\d+) keys \| (\d+) slots \| 0 slaves\.$`)
	colours    = regexp.MustCompile("\x1b\\[[0-9;]*m")
)

func TestRedisCLILooksAtThreeNodes(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	cli, nodes := tool(t, "redis-cli"), openCluster(t, 3)
	want := map[string]string{}
	topo := awaitTopology(t, nodes, eachTwice) // redis-cli asks one node after the other: no shard may move meanwhile
	for i, n := range nodes {
		c, slots := dialTalker(t, n), 0
		for _, key := range keysOf(t, n, i+1) {
			if got := c.say("NP.SET", key, array); got != "+OK" {
				t.Fatal(got)
			}
		}
		for _, r := range topo.Ranges() {
			if r.Primary == n.id {
				slots += r.Last - r.First + 1
			}
		}
		want[n.ClientAddrs()[0].String()] = fmt.Sprintf("%.8s: %d keys, %d slots", n.id, i+1, slots)
	}
	for _, n := range nodes {
		address := n.ClientAddrs()[0].String()
		for _, command := range []string{"check", "info"} {
			out := ""
			undisturbed(t, nodes, func() { out = colours.ReplaceAllString(runTool(t, "", cli, "--cluster", command, address), "") })
			got := map[string]string{}
			for _, m := range masterLine.FindAllStringSubmatch(out, -1) {
				got[m[1]] = fmt.Sprintf("%s: %s keys, %s slots", m[2], m[3], m[4])
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || !strings.Contains(out, "[OK] 6 keys in 3 masters.") {
				t.Errorf("--cluster %s %s: want %v\n%s", command, address, want, out)
			}
			agree := strings.Contains(out, "[OK] All nodes agree about slots configuration.") && strings.Contains(out, "[OK] All 16384 slots covered.")
			if command == "check" && !agree || strings.Contains(out, "[ERR]") || strings.Contains(out, "[WARNING]") {
				t.Errorf("--cluster %s %s:\n%s", command, address, out)
			}
		}
		if out := runTool(t, "", cli, "--cluster", "call", address, "DBSIZE"); strings.Count(out, "127.0.0.1:") < 3 || strings.Contains(out, "ERR") {
			t.Errorf("--cluster call: %s", out)
		}
	}
}

// Many clients are built on hiredis. It does not know clusters: the program does what those clients do.
func TestHiredisAgainstThreeNodes(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	gcc := tool(t, "gcc")
	if out, err := exec.CommandContext(t.Context(), gcc, "-E", "-o", os.DevNull, "-include", "hiredis/hiredis.h", "-x", "c", os.DevNull).CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the headers of hiredis are needed: %v\n%s", err, out)
		}
		t.Skip("libhiredis-dev is not installed")
	}
	program := filepath.Join(t.TempDir(), "hiredis_cluster")
	if out := runTool(t, "", gcc, "-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o", program, "testdata/hiredis_cluster.c", "-lhiredis"); out != "" {
		t.Error(out)
	}
	nodes := openCluster(t, 3)
	for i, n := range nodes {
		if i > 0 {
			for _, n := range nodes {
				dialTalker(t, n).say("FLUSHALL")
			}
		}
		before := redirects(t, nodes)
		out := runTool(t, "", program, "127.0.0.1", portOf(t, n))
		if !regexp.MustCompile(`^followed a redirect of slot \d+\n`).MatchString(out) || redirects(t, nodes) != before+1 {
			t.Errorf("%d redirects: %s", redirects(t, nodes)-before, out)
		}
		for _, n := range nodes {
			keys := n.store.Stats().Keys
			if line := fmt.Sprintf("%s has %d keys\n", n.ClientAddrs()[0], keys); keys < 50 || !strings.Contains(out, line) {
				t.Errorf("it lacks %s: %s", line, out)
			}
		}
	}
}
