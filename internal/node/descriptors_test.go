package node

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDivideFiles(t *testing.T) {
	for _, test := range []struct {
		limit, shards, dev int
		dir                string
		want               Descriptors
		err                string
	}{
		{limit: 132, shards: 256, want: Descriptors{12, 24, 8, 16}},
		{limit: 127, shards: 256, err: "the limit of open files is 127, but at least 128 are needed (nodes: 1, shards: 256): raise it with ulimit -n"},
		{limit: 128, shards: 256, want: Descriptors{8, 24, 8, 16}},
		{limit: 100, shards: 256, dir: "data", err: "is 100, but at least 448 are needed (nodes: 1,"},
		{limit: 448, shards: 256, dir: "data", want: Descriptors{8, 24, 8, 16}},
		{limit: 1024, shards: 256, dir: "data", want: Descriptors{452, 82, 20, 20}},
		{limit: 4096, shards: 256, dir: "data", want: Descriptors{2616, 466, 64, 116}},
		{limit: 1 << 20, shards: 256, dir: "data", want: Descriptors{1<<20 - 368 - 2*1024 - 64 - 256, 1024, 64, 256}},
		{limit: 4096, shards: 256, dev: 3, want: Descriptors{687, 124, 31, 31}},
		{limit: 1024, shards: 256, dev: 3, err: "is 1024, but at least 1344 are needed (nodes: 3,"},
	} {
		got, err := divideFiles(test.limit, &Config{Shards: test.shards, Dev: test.dev, Dir: test.dir})
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%d files, %d shards, --dev %d, folder %q: %+v, %v", test.limit, test.shards, test.dev, test.dir, got, err)
		}
	}
}

// withFiles runs the built node with a limit of open files.
func withFiles(t *testing.T, limit int, args ...string) *exec.Cmd {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`ulimit -n %d && exec "$@"`, limit)
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", script, "sh", path, "--port", "0", "--http-port", "0"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return cmd
}

// However many clients connect, the disk keeps its descriptors: every shard can be written to. Clients without a
// descriptor get an error.
func TestClientsLeaveTheDiskItsFiles(t *testing.T) {
	t.Parallel()
	const limit = 480
	p := startCommand(t, withFiles(t, limit, "--dir", t.TempDir()))
	if log := p.logged(); strings.Count(log, "maxclients lowered") != 1 || !strings.Contains(log, "wanted=10000 limit=480") {
		t.Errorf("the log does not say that maxclients is lowered:\n%s", log)
	}
	c := dialPlain(t, p)
	clients, err := strconv.Atoi(strings.Trim(strings.TrimPrefix(c.do(t, "CONFIG", "GET", "maxclients"), `["maxclients" `), `"]`))
	if err != nil || clients < leastClients || clients > limit-256 {
		t.Fatalf("maxclients is %d, %v", clients, err)
	}
	refused := 0
	for range 2 * limit {
		conn, err := net.Dial("tcp", p.resp)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute)) // against a hang
		if refused < clients {
			io.WriteString(conn, "PING\r\n") // fails if the node has closed the connection
		}
		answer := make([]byte, 100)
		n, _ := conn.Read(answer)
		switch got := string(answer[:n]); got {
		case "+PONG\r\n":
		case "-ERR max number of clients reached\r\n", "": // the reply is lost if the client's data is not read
			refused++
		default:
			t.Fatalf("a client got %q", got)
		}
	}
	if want := 2*limit - clients + 1; refused != want {
		t.Errorf("%d clients are refused, want %d", refused, want)
	}
	for i := range 1500 { // in all shards
		c.want(t, "+OK", "NP.SET", fmt.Sprint("k", i), npyOfBytes(1))
	}
	c.want(t, "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to handle the specified number of clients, try with "+fmt.Sprint(clients),
		"CONFIG", "SET", "maxclients", fmt.Sprint(clients+1))
	c.want(t, "+OK", "CONFIG", "SET", "maxclients", fmt.Sprint(clients))
	if log := p.logged(); strings.Contains(log, "too many open files") || strings.Count(log, "level=WARN") > 2 {
		t.Errorf("it logs\n%.2000s", log)
	}
}

func TestTooFewFilesFailTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := withFiles(t, 100, "--dir", dir+"/data")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("the start ends with %v", err)
	}
	if !strings.Contains(said.String(), "the limit of open files is 100, but at least 448 are needed") {
		t.Errorf("it says\n%s", &said)
	}
	if _, err := os.Stat(dir + "/data"); err == nil {
		t.Error("it has left a data folder")
	}
}

// A cluster setting that needs more descriptors than this node has is not applied here.
func TestClusterMaxclientsTooHigh(t *testing.T) {
	config := Config{Descriptors: Descriptors{Clients: 100}}
	if err := checkClusterSetting(config, "maxclients", "101"); err == nil || !strings.Contains(err.Error(), "try with 100") {
		t.Error(err)
	}
	if err := checkClusterSetting(config, "maxclients", "100"); err != nil {
		t.Error(err)
	}
}
