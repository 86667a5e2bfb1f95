package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// With the environment variable asProgram, this test binary is the program.
const asProgram = "NDRING_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
	}
	os.Exit(tests(m))
}

// coverage is the folder to which a program built with coverage writes when it ends. Without one it complains.
var coverage string

func tests(m *testing.M) int {
	var err error
	if coverage, err = os.MkdirTemp("", "ndring-coverage-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(coverage)
	return m.Run()
}

// patience is how long a test waits for something that takes seconds.
const patience = time.Minute

// program is a command that runs ndring with only the given environment.
func program(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append([]string{asProgram + "=1", "GOCOVERDIR=" + coverage}, env...)
	return cmd
}

// run runs ndring until it ends.
func run(t *testing.T, env []string, args ...string) (out, said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := program(ctx, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() < 0) {
		t.Fatalf("ndring %q: %v\n%s%s", args, err, &stdout, &stderr)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// log collects what a node has written.
type log struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// find waits until the log matches a pattern, and returns its group.
func (l *log) find(t *testing.T, what string) string {
	t.Helper()
	pattern := regexp.MustCompile(what)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found := pattern.FindStringSubmatch(l.String()); found != nil {
			return found[1]
		}
	}
	t.Fatalf("the log never has %s:\n%s", what, l)
	return ""
}

// serving is a running node process.
type serving struct {
	*os.Process
	addr string // for clients
}

// startNodes starts a cluster of three processes.
func startNodes(t *testing.T, env ...string) (nodes []serving) {
	t.Helper()
	seed := "127.0.0.1:9"
	var logs []*log
	for i := range 3 {
		name, l := fmt.Sprintf("n%d", i+1), &log{}
		cmd := program(context.Background(), env, "--bind", "127.0.0.1", "--port", "0", "--http-port", "0", "--gossip-port", "0", "--shards", "16",
			"--node-id", name, "--dir", filepath.Join(t.TempDir(), name), "--bootstrap-expect", "3", "--join", seed)
		cmd.Stdout, cmd.Stderr = l, l
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill() // also one that is stopped
			cmd.Wait()
		})
		nodes, logs = append(nodes, serving{cmd.Process, ""}), append(logs, l)
		seed = l.find(t, `reachable by other nodes.* gossip=(\S+)`)
	}
	for i, l := range logs {
		nodes[i].addr = l.find(t, `ndring is ready.* resp=(\S+)`)
	}
	return nodes
}

func (n serving) signal(t *testing.T, what os.Signal) {
	t.Helper()
	if err := n.Signal(what); err != nil {
		t.Fatal(err)
	}
}

// eventually runs ndring ctl until its output is as wanted.
func eventually(t *testing.T, env []string, wanted string, args ...string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, said, _ := run(t, env, append([]string{"ctl"}, args...)...)
		if last = out + said; strings.Contains(last, wanted) {
			return
		}
	}
	t.Fatalf("ndring ctl %q never says %q; instead:\n%s", args, wanted, last)
}

// `ndring ctl` is ndctl under another name, with its exit codes.
func TestCtl(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "NDRING_REQUIREPASS=secret")
	env := []string{"NDRING_ADDR=" + nodes[0].addr, "NDRING_REQUIREPASS=secret"}
	eventually(t, env, "health     ok", "status")
	for _, tc := range []struct {
		env       []string
		args      string
		code      int
		out, said string
	}{
		{env, "status", 0, "nodes      3 of 3 up\n", ""},
		{env, "nodes --json", 0, `"name": "n1",`, ""},
		{env, "where nothing", 0, "exists     no\n", ""},
		{env, "get nothing -o -", 1, "", "ndring ctl: key \"nothing\" does not exist\n"},
		{env, "get nothing", 2, "", "ndring ctl: get needs -o FILE; - is standard output\nTry 'ndring ctl get --help'\n"},
		{env, "", 2, "Usage:\n  ndring ctl [command]\n", ""},
		{env, "nosuch", 2, "", "ndring ctl: unknown command \"nosuch\"\n"},
		{[]string{"NDRING_ADDR=127.0.0.1:1"}, "status", 3, "", "ndring ctl: no node answers at 127.0.0.1:1: connection refused\n"},
		{env[:1], "status", 4, "", "a password is required"},
		{nil, "version", 0, "ndring ctl " + version + "\n", ""},
		{nil, "config set --help", 0, "Usage:\n  ndring ctl config set NAME VALUE", ""},
	} {
		out, said, code := run(t, tc.env, append([]string{"ctl"}, strings.Fields(tc.args)...)...)
		if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(said, tc.said) || tc.said == "" && said != "" {
			t.Errorf("ndring ctl %s: exit code %d, not %d\n%s%s", tc.args, code, tc.code, out, said)
		}
	}
	withoutAMajority(t, nodes, env)
	for _, n := range nodes[1:] {
		n.signal(t, syscall.SIGKILL)
	}
	eventually(t, env, "no quorum: 1 of 3 voters up", "status")
	if out, said, code := run(t, env, "ctl", "status"); code != 1 || !strings.Contains(out, "down: n2, n3\n") {
		t.Errorf("two of three are gone: exit code %d\n%s%s", code, out, said)
	}
}

// withoutAMajority freezes two of three nodes in the middle of a change: the change may still happen, and repeating
// it is safe.
func withoutAMajority(t *testing.T, nodes []serving, env []string) {
	t.Helper()
	const uncertain = "UNCERTAIN, the cluster has not decided in time: the change may have been made, or may still be made; ndctl config get '*' --cluster shows it"
	for deadline := time.Now().Add(patience); ; {
		for _, n := range nodes[1:] {
			n.signal(t, syscall.SIGSTOP)
		}
		out, said, code := run(t, env, "ctl", "config", "set", "timeout", "70", "--cluster")
		for _, n := range nodes[1:] {
			n.signal(t, syscall.SIGCONT)
		}
		eventually(t, env, "health     ok", "status")
		if code == 1 && out == "" && strings.Contains(said, uncertain) {
			break
		}
		if !strings.Contains(said, "the cluster has no leader") && !strings.Contains(said, "leads the cluster but does not answer") || time.Now().After(deadline) { // it was known already
			t.Fatalf("without a majority: exit code %d\n%s%s", code, out, said)
		}
	}
	if out, said, code := run(t, env, "ctl", "config", "set", "timeout", "71", "--cluster"); code != 0 || out != "the cluster: OK\n" {
		t.Fatalf("with a majority: exit code %d\n%s%s", code, out, said)
	}
	eventually(t, env, "timeout  71     all\n", "config", "get", "timeout")
	eventually(t, env, "timeout  71\n", "config", "get", "timeout", "--cluster")
}
