package node

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
	"golang.org/x/sys/unix"
)

// deaf is a node in a process whose log the test stops reading once the node is ready.
type deaf struct {
	*process
	pipe *os.File // the end to read
}

func startDeaf(t *testing.T, args ...string) deaf {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, nil, append([]string{"--port", "0", "--http-port", "0", "--shards", "16", "--dir", t.TempDir()}, args...)...)
	cmd.Stderr = w
	p := &process{cmd: cmd, exited: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() { cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() { cmd.Process.Kill(); p.awaitExit(t) })
	for lines := bufio.NewReaderSize(r, 16); p.resp == ""; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the node did not start: %v\n%s", err, p.logged())
		}
		p.log.WriteString(line)
		if m := readyLine.FindStringSubmatch(line); m != nil {
			p.resp, p.http = m[1], m[2]
		}
	}
	return deaf{p, r}
}

// makeItTalk makes the node log far more than its standard error can buffer.
func (d deaf) makeItTalk(t *testing.T) {
	t.Helper()
	if got := talkTo(t, d.resp).say("CONFIG", "SET", "log-level", "debug"); got != "+OK" {
		t.Fatalf("CONFIG SET: %s", got)
	}
	for range 100 { // the end of each connection is logged
		c := talkTo(t, d.resp)
		io.WriteString(c, "*x\r\n")
		if reply, err := io.ReadAll(c.r); err != nil || !strings.HasPrefix(string(reply), "-ERR Protocol error") {
			t.Fatalf("an unknown command is answered with %q, %v", reply, err)
		}
		c.Close()
	}
}

// serves checks that node-wide commands work and that the stop is orderly.
func (d deaf) serves(t *testing.T) {
	t.Helper()
	c := talkTo(t, d.resp)
	for _, command := range []string{"CONFIG SET timeout 0", "CONFIG SET maxclients 1000", "PING"} {
		if got := c.say(strings.Fields(command)...); got != "+OK" && got != "+PONG" {
			t.Errorf("%s: %s", command, got)
		}
	}
	if got := c.say("CLUSTER", "INFO"); !strings.Contains(got, "cluster_state:ok") {
		t.Errorf("CLUSTER INFO: %s", got)
	}
	if got := c.say("NP.SET", "k", array); got != "+OK" {
		t.Errorf("NP.SET: %s", got)
	}
	if code, body := httpGet(t, "http://"+d.http+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := d.awaitExit(t); code != exitOK {
		t.Errorf("SIGTERM: %s", d.cmd.ProcessState)
	}
}

func talkTo(t *testing.T, address string) *talker {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return newTalker(nc)
}

// A log that is not read blocks nothing.
func TestUnreadStandardError(t *testing.T) {
	t.Parallel()
	d := startDeaf(t)
	d.makeItTalk(t)
	d.serves(t)
}

// Closing the terminal or the reader of the log does not end a node.
func TestClosedStandardError(t *testing.T) {
	t.Parallel()
	d := startDeaf(t)
	d.pipe.Close()
	d.makeItTalk(t)
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(syscall.SIGPIPE); err != nil {
		t.Fatal(err)
	}
	d.makeItTalk(t)
	d.awaitMetric(t, `ndring_log_lost_lines_total [1-9]`)
	d.serves(t)
}

// A stop waits for a command under way: meanwhile the node is not ready, but still part of the cluster. A second signal
// ends it at once.
func TestStopWaitsForCommands(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "--shards", "16", "--gossip-port", "0")
	gossip := regexp.MustCompile(` gossip=(\S+)`).FindStringSubmatch(p.logged())[1]
	upload := talkTo(t, p.resp)
	command := resptest.Command("NP.SET", "k", u1Array(1<<17, 1))
	if _, err := io.WriteString(upload, command[:len(command)-20]); err != nil {
		t.Fatal(err)
	}
	p.awaitMetric(t, `ndring_upload_bytes [1-9]`)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.awaitLog(t, `msg="ndring is stopping" reason="terminated signal received"`)
	if code, body := httpGet(t, "http://"+p.http+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "the node is stopping") {
		t.Errorf("/readyz during the stop: %d %s", code, body)
	}
	if _, body := httpGet(t, "http://"+p.http+"/metrics"); !strings.Contains(body, "\nndring_upload_bytes ") || strings.Contains(body, "\nndring_upload_bytes 0\n") {
		t.Error("the command was not under way")
	}
	if conn, err := net.Dial("tcp", gossip); err != nil {
		t.Errorf("the node has left its cluster before its clients: %v", err)
	} else {
		conn.Close()
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.awaitExit(t); code != -1 || strings.Contains(p.logged(), "ndring has stopped") {
		t.Errorf("a second signal does not end the process at once: %s\n%s", p.cmd.ProcessState, p.logged())
	}
}

// A small message to the gossip port for which memberlist would allocate 2^62 bytes does no harm.
func TestStrangersAtTheGossipPort(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "--shards", "16")
	gossip := regexp.MustCompile(` gossip=(\S+)`).FindStringSubmatch(p.logged())[1]
	for _, network := range []string{"tcp", "udp"} {
		conn, err := net.Dial(network, gossip)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "\x08\x81\xaaUserMsgLen\xd3\x40\x00\x00\x00\x00\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
	}
	p.awaitMetric(t, `ndring_gossip_refused_total 2`)
	p.awaitLog(t, `msg="refused a gossip message that no ndring node sends" from=127.0.0.1:`)
}

func (p *process) await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) || p.hasExited() {
			t.Fatalf("never: %s\n%s", what, p.logged())
		}
	}
}

func (p *process) awaitLog(t *testing.T, line string) {
	t.Helper()
	p.await(t, line, func() bool { return strings.Contains(p.logged(), line) })
}

func (p *process) awaitMetric(t *testing.T, pattern string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + pattern)
	p.await(t, pattern, func() bool {
		_, body := httpGet(t, "http://"+p.http+"/metrics")
		return found.MatchString(body)
	})
}

// A container in a namespace with a Service named ndring starts, and logs which variables it ignores.
func TestVariablesOfKubernetes(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig(nil, environment("NDRING_PORT", "tcp://10.96.0.1:7379", "NDRING_HTTP_PORT", "tcp://10.96.0.2:7380", "NDRING_GOSSIP_PORT", "udp://10.96.0.3:7946",
		"NDRING_SERVICE_HOST", "10.96.0.1", "NDRING_SERVICE_PORT", "7379", "NDRING_PORT_7379_TCP", "tcp://10.96.0.1:7379"), "")
	if err != nil || len(c.Warnings) != 3 || c.Port != 7379 || c.HTTPPort != 7380 || c.Cluster.GossipPort != 7946 {
		t.Errorf("%+v, %v", c, err)
	}
	env := []string{"NDRING_BUS_PORT=tcp://10.96.0.1:17379", "NDRING_HTTP_PORT=tcp://10.96.0.2:7380"}
	p := startCommand(t, program(t, env, "--port", "0", "--http-port", "0", "--shards", "16", "--dir", t.TempDir()))
	if !strings.Contains(p.logged(), "ignoring NDRING_BUS_PORT=tcp://10.96.0.1:17379: Kubernetes sets it") {
		t.Errorf("no warning:\n%s", p.logged())
	}
	out, err := program(t, env, "healthcheck").CombinedOutput() // on the default port, where another node may run
	warning := "ndring: ignoring NDRING_HTTP_PORT=tcp://10.96.0.2:7380: Kubernetes sets it for a Service of that name\n"
	if said, warned := strings.CutPrefix(string(out), warning); !warned || exitCode(err) == exitUsage || strings.Contains(said, "10.96.0.2") {
		t.Errorf("healthcheck: %s%v", out, err)
	}
	for _, bad := range []string{"tcp:/x", "http://x", "10.96.0.1"} {
		if _, err := ParseConfig(nil, environment("NDRING_PORT", bad), ""); err == nil {
			t.Errorf("NDRING_PORT=%s is taken", bad)
		}
	}
	if c, err := ParseConfig(nil, environment("NDRING_REQUIREPASS", "tcp://secret"), ""); err != nil || c.Server.Password != "tcp://secret" {
		t.Errorf("a password that looks like an address: %v", err)
	}
}

// A lone node waits for no other node, so clients get no error in its first moments.
func TestFirstCommandsOfALoneNode(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, command := range []string{"NP.EXISTS k", "CLUSTER KEYSLOT k", "NP.SET k " + array} {
		want := []string{":0", ":7629", "+OK"}[i]
		got := ""
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); { // clients wait while it is LOADING, as after a slow start
			if got = dialTalker(t, n).say(strings.SplitN(command, " ", 3)...); !strings.HasPrefix(got, "-LOADING ") {
				break
			}
		}
		if got != want {
			t.Errorf("%s: %s", command, got)
		}
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
