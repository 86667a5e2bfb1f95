package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/slowtest"
	"github.com/ndring/ndring/replica"
)

// With this environment variable, the test binary is the ndring program.
const asProgram = "NDRING_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if slowtest.Race {
		patient()
	}
	if os.Getenv(asProgram) != "" {
		os.Exit(Run(os.Args[1:], "1.2.3-test", nil, os.Stdout, os.Stderr))
	}
	slowtest.Parallel(8) // most tests wait for timers of a cluster
	os.Exit(tests(m))
}

// patient makes leases last longer, so that the race detector on a busy machine does not make a copy look silent.
func patient() {
	const times = 3
	d := &replica.DefaultTimes
	d.Lease, d.Silence, d.SilenceTicks, d.LagTicks = times*d.Lease, times*d.Silence, times*d.SilenceTicks, times*d.LagTicks
}

// rounds is how often a test repeats its checks: fewer times under -short.
func rounds(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// coverage is the folder to which a program built with coverage writes when it ends. Without one it complains on a
// standard error that may be full.
var coverage string

func tests(m *testing.M) int {
	var err error
	if coverage, err = os.MkdirTemp("", "ndring-coverage-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(coverage)
	code := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	return code
}

// program returns an ndring command that is killed when the test ends.
func program(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append([]string{asProgram + "=1", "GOCOVERDIR=" + coverage, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	return cmd
}

// process is a node in its own process.
type process struct {
	cmd        *exec.Cmd
	resp, http string // addresses
	exited     chan struct{}
	ready      chan bool // true once it serves; closed when it has exited

	mu  sync.Mutex
	log strings.Builder
}

var readyLine = regexp.MustCompile(`msg="ndring is ready".* resp=(\S+) http=(\S+)`)

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, program(t, nil, append([]string{"--port", "0", "--http-port", "0", "--dir", t.TempDir()}, args...)...))
}

// built is the ndring program as users run it: without the race detector, which takes several times the memory.
var built = sync.OnceValues(func() (path string, err error) {
	if builtIn, err = os.MkdirTemp("", "ndring-test-"); err != nil {
		return "", err
	}
	path = filepath.Join(builtIn, "ndring")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/node").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

var builtIn string // removed at the end

// startBuilt runs the program as users run it.
func startBuilt(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, append([]string{"--port", "0", "--http-port", "0", "--dir", t.TempDir()}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return startCommand(t, cmd)
}

// startCommand returns when the node serves.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := launch(t, cmd)
	select {
	case serves := <-p.ready:
		if !serves {
			t.Fatalf("the node did not start:\n%s", p.logged())
		}
	case <-time.After(clusterTime):
		t.Fatalf("the node does not serve within %v:\n%s", clusterTime, p.logged())
	}
	return p
}

// launch returns when the process runs.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{}), ready: make(chan bool, 1)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		lines := bufio.NewReader(stderr)
		for {
			line, err := lines.ReadString('\n')
			p.mu.Lock()
			p.log.WriteString(line)
			if m := readyLine.FindStringSubmatch(line); m != nil && p.resp == "" {
				p.resp, p.http = m[1], m[2]
				p.ready <- true
			}
			p.mu.Unlock()
			if err != nil {
				break
			}
		}
		p.cmd.Wait() // the exit code is read from ProcessState
		close(p.ready)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.awaitExit(t)
		for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if strings.Contains("\n"+p.logged(), sign) {
				t.Errorf("the process broke:\n%s", p.logged())
				break
			}
		}
	})
	return p
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// exitTime is more than a stop may take.
const exitTime = 45 * time.Second

// awaitExit returns the exit code, -1 for the end by a signal. A process that goes on fails the test.
func (p *process) awaitExit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(exitTime):
		p.cmd.Process.Kill()
		t.Fatalf("the process does not end:\n%s", p.logged())
		return 0
	}
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func httpGet(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	reply, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, string(body)
}

func TestProcessStartsServesAndStopsOnSIGTERM(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := httpGet(t, "http://"+p.http+path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if out, err := program(t, nil, "healthcheck", "--addr", p.http).Output(); err != nil || string(out) != "ready\n" {
		t.Errorf("healthcheck: %s%v", out, err)
	}
	if out, err := program(t, []string{"NDRING_HTTP_PORT=" + p.http[strings.LastIndex(p.http, ":")+1:]}, "healthcheck").CombinedOutput(); err != nil {
		t.Errorf("healthcheck by environment: %s%v", out, err)
	}
	if _, body := httpGet(t, "http://"+p.http+"/metrics"); !strings.Contains(body, "\nndring_clients 0\n") || !strings.Contains(body, "\nndring_commands_total ") ||
		!strings.Contains(body, "process_resident_memory_bytes") || !strings.Contains(body, "\nndring_disk_full 0\n") || !strings.Contains(body, "\nndring_oom_denied_total 0\n") {
		t.Errorf("metrics: %s", body)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.awaitExit(t); code != exitOK || !strings.Contains(p.logged(), `msg="ndring has stopped"`) {
		t.Errorf("exit code %d:\n%s", code, p.logged())
	}
	if out, err := program(t, nil, "healthcheck", "--addr", p.http).CombinedOutput(); exitCode(err) != exitFailure {
		t.Errorf("healthcheck of a node that is gone: %s%v", out, err)
	}
}

func TestProcessStopsOnSHUTDOWN(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	nc, err := net.Dial("tcp", p.resp)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := newTalker(nc)
	if got := c.say("CONFIG", "SET", "log-level", "debug"); got != "+OK" {
		t.Error(got)
	}
	if got := c.say("SHUTDOWN", "NOSAVE"); got != "failed: EOF" {
		t.Errorf("SHUTDOWN answers %s", got)
	}
	if code := p.awaitExit(t); code != exitOK || !strings.Contains(p.logged(), `msg="ndring has stopped"`) || !strings.Contains(p.logged(), `msg="ndring is stopping" reason="SHUTDOWN command"`) ||
		!strings.Contains(p.logged(), `msg="client requested a shutdown" client=`+nc.LocalAddr().String()) {
		t.Errorf("exit code %d:\n%s", code, p.logged())
	}
}

func TestProcessRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "--log-format", "text")
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"--port x", exitUsage, "Try 'ndring --help'"},
		{"healthcheck --port 1", exitUsage, "-port"},
		{"--port 0 --http-port 0 --dir= --listen a=" + p.resp, exitFailure, "cannot listen for clients (--listen a=)"},
		{"--http-port 0 --dir= --gossip-port 0 --bus-port 0 --port " + portIn(p.resp), exitFailure, "another process, perhaps another node, uses it; choose another port with --port, or 0 for any"},
		{"--port 0 --http-port 0 --dir= --bus-port " + portIn(p.resp), exitFailure, "choose another port with --bus-port, or 0 for any"},
		{"--port 0 --http-port 0 --dir= --gossip-port " + portIn(p.resp), exitFailure, "choose another port with --gossip-port, or 0 for any"},

		{"--port 0 --dir= --bind 127.0.0.1 --http-port " + p.http[strings.LastIndex(p.http, ":")+1:], exitFailure, "choose another port with --http-port, or 0 for any"},
		{"--dir= --bind 203.0.113.1 --insecure", exitFailure, "cannot listen"},
		{"--dir= --bind 203.0.113.1", exitUsage, "--gossip-key-file"},
	} {
		out, err := program(t, nil, strings.Fields(test.args)...).CombinedOutput()
		if exitCode(err) != test.code || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: exit code %d, %s", test.args, exitCode(err), out)
		}
	}
	for args, want := range map[string]string{"--help": "Usage:", "help": "Usage:", "healthcheck --help": "-addr", "version": "ndring 1.2.3-test", "--version": "ndring 1.2.3-test"} {
		if out, err := program(t, nil, strings.Fields(args)...).CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %s%v", args, out, err)
		}
	}
}

func portIn(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return exitOK
}
