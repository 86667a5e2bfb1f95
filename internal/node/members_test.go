package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// member is a node of a cluster of processes: its folder and its addresses, which outlive its processes.
type member struct {
	t      *testing.T
	name   string
	folder string
	host   string
	port   int // for clients; the bus port follows from it
	http   int
	gossip int
	// program returns what the member runs; nil stands for memberProgram.
	program func() (string, error)
	*process
}

// crowds limits how many tests run a cluster of processes at the same time.
var crowds = make(chan struct{}, 2)

// gather makes members and starts none of them.
func gather(t *testing.T, names ...string) (all []*member) {
	t.Helper()
	crowds <- struct{}{}
	t.Cleanup(func() { <-crowds }) // after the processes are gone
	for _, name := range names {
		all = append(all, newMember(t, name))
	}
	return all
}

func newMember(t *testing.T, name string) *member {
	m := &member{t: t, name: name, folder: filepath.Join(t.TempDir(), name)}
	m.move()
	return m
}

var hosts atomic.Uint32

// move gives the member addresses that nothing else in this package uses. On Linux all of 127/8 is this machine.
func (m *member) move() {
	m.host = "127.0.0.1"
	if runtime.GOOS == "linux" {
		n := hosts.Add(1)
		m.host = net.IPv4(127, byte(1+os.Getpid()%250), byte(n>>8), byte(n)).String()
	}
	for !m.choosePorts() {
	}
}

// choosePorts gives the member different free ports, including the bus port, which follows from the client port. It
// reports whether it could.
func (m *member) choosePorts() bool {
	m.t.Helper()
	var held []net.Listener // until all are chosen: none is chosen twice
	defer func() {
		for _, socket := range held {
			socket.Close()
		}
	}()
	listen := func(port int) (int, error) {
		socket, err := net.Listen("tcp", joinHostPort(m.host, port))
		if err != nil {
			return 0, err
		}
		held = append(held, socket)
		return socket.Addr().(*net.TCPAddr).Port, nil
	}
	for _, chosen := range []*int{&m.port, &m.http, &m.gossip} {
		var err error
		if *chosen, err = listen(0); err != nil {
			m.t.Fatal(err)
		}
	}
	bus := m.port + busOffset
	if bus > 65535 {
		return false
	}
	_, err := listen(bus)
	return err == nil
}

func (m *member) seed() string   { return fmt.Sprintf("%s:%d", m.host, m.gossip) }
func (m *member) client() string { return fmt.Sprintf("%s:%d", m.host, m.port) }

func seedsOf(all ...*member) string {
	var seeds []string
	for _, m := range all {
		seeds = append(seeds, m.seed())
	}
	return strings.Join(seeds, ",")
}

// memberProgram is what members run: this binary, unless it has the race detector. With it, several nodes on a busy
// machine take seconds for what others wait 300 ms for, and keep electing leaders.
func memberProgram() (string, error) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) && os.Getenv("NDRING_RACE_MEMBERS") == "" {
		return built()
	}
	return os.Executable()
}

// start starts the member, and waits for nothing.
func (m *member) start(args ...string) *process {
	m.t.Helper()
	program := m.program
	if program == nil {
		program = memberProgram
	}
	path, err := program()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{
		"--bind", m.host, "--port", fmt.Sprint(m.port), "--http-port", fmt.Sprint(m.http), "--gossip-port", fmt.Sprint(m.gossip),
		"--dir", m.folder, "--node-id", m.name, "--shards", "64",
	}, args...)...)
	cmd.Env = []string{asProgram + "=1", "GOCOVERDIR=" + coverage, "PATH=" + os.Getenv("PATH"), "GOMAXPROCS=2"}
	m.process = launch(m.t, cmd)
	return m.process
}

// startAll starts members that bootstrap a cluster together, with each other as seeds.
func startAll(all []*member, args ...string) {
	for _, m := range all {
		m.start(append([]string{"--join", seedsOf(all...), "--bootstrap-expect", fmt.Sprint(len(all))}, args...)...)
	}
}

// stop stops the member in an orderly way; kill kills it without notice to the others.
func (m *member) stop() { m.end(syscall.SIGTERM) }
func (m *member) kill() { m.end(syscall.SIGKILL) }

func (m *member) end(how syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.t.Fatal(err)
	}
	m.awaitExit(m.t)
	if how == syscall.SIGTERM && m.cmd.ProcessState.ExitCode() != exitOK {
		m.t.Errorf("%s ended with %s:\n%s", m.name, m.cmd.ProcessState, m.logged())
	}
}

// wipe removes the member's folder.
func (m *member) wipe() {
	m.t.Helper()
	if err := os.RemoveAll(m.folder); err != nil {
		m.t.Fatal(err)
	}
}

// do sends a command to the member itself.
func (m *member) do(args ...any) (any, error) {
	quiet()
	c := redis.NewClient(&redis.Options{Addr: m.client(), MaxRetries: -1, Protocol: 2, DialTimeout: 2 * time.Second, ReadTimeout: 20 * time.Second, DialerRetries: 1})
	defer c.Close()
	return c.Do(context.Background(), args...).Result()
}

// says returns the member's reply as text.
func (m *member) says(args ...any) string {
	reply, err := m.do(args...)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(reply)
}

// info returns the fields of CLUSTER INFO, none if the member does not answer.
func (m *member) info() map[string]string {
	fields := map[string]string{}
	for _, line := range strings.Split(m.says("CLUSTER", "INFO"), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// readyz returns the member's answer to /readyz.
func (m *member) readyz() string {
	code, body := httpGet(m.t, fmt.Sprintf("http://%s:%d/readyz", m.host, m.http))
	return fmt.Sprint(code, " ", strings.TrimSpace(body))
}

// eventually waits for a condition, which returns what it sees instead, or an empty string once it is met.
func eventually(t *testing.T, what string, all []*member, amiss func() string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = amiss(); last == "" {
			return
		}
	}
	for _, m := range all {
		if m.process != nil {
			t.Logf("%s said:\n%s", m.name, m.logged())
		}
	}
	t.Fatalf("timed out waiting for: %s; instead: %s", what, last)
}

// whole waits until the members, and no other nodes, are one cluster that serves all slots, and all of them report
// that. It returns the cluster id.
func whole(t *testing.T, all ...*member) (id string) {
	t.Helper()
	eventually(t, "one cluster that serves all slots", all, func() string {
		id = ""
		for _, m := range all {
			info := m.info()
			got := fmt.Sprint(info["cluster_state"], " ", info["cluster_known_nodes"], " nodes, ", info["cluster_slots_ok"], " slots, waits for: ", info["cluster_waiting_for"])
			if want := fmt.Sprint("ok ", len(all), " nodes, 16384 slots, waits for: "); got != want {
				return m.name + ": " + got
			}
			if id == "" {
				id = info["cluster_id"]
			}
			if id == "" || info["cluster_id"] != id {
				return fmt.Sprintf("%s is of cluster %q, %s of %q", m.name, info["cluster_id"], all[0].name, id)
			}
			if ready := m.readyz(); ready != "200 ready" {
				return m.name + ": " + ready
			}
		}
		return ""
	})
	return id
}

// quiet keeps the client library from logging each broken connection.
var quiet = sync.OnceFunc(func() { redis.SetLogger(&silent{}) })

// silent is a logger of the client library that writes nothing.
type silent struct{}

func (*silent) Printf(context.Context, string, ...any) {}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
