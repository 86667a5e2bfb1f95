package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kind is a server that can be measured.
type kind struct {
	name      string
	memcached bool     // speaks its text protocol, else RESP
	prefix    string   // of SET and GET
	command   []string // with PORT for the port
	version   []string // prints it
	stores    bool
}

func kinds(binary, root string) []kind {
	redis := []string{"--port", "PORT", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"}
	memcached := []string{"memcached", "-p", "PORT", "-U", "0", "-l", "127.0.0.1", "-m", "8192", "-I", "256m", "-c", "1024", "-t", "4"}
	if os.Getuid() == 0 {
		memcached = append(memcached, "-u", "root")
	}
	self, _ := os.Executable()
	return []kind{
		{name: "ndring", prefix: "NP.", command: []string{binary, "--port", "PORT", "--http-port", "0", "--dir", ""}, version: []string{binary, "version"}, stores: true},
		{name: "redis", command: append([]string{"redis-server"}, redis...), version: []string{"redis-server", "--version"}, stores: true},
		{name: "valkey", command: append([]string{"chroot", root, "/usr/bin/valkey-server"}, redis...), version: []string{"chroot", root, "/usr/bin/valkey-server", "--version"}, stores: true},
		{name: "memcached", memcached: true, command: memcached, version: []string{"memcached", "--version"}, stores: true},
		{name: "null", command: []string{self, "null", "PORT"}},
	}
}

// process is a server that runs.
type process struct {
	kind
	addr string
	cmd  *exec.Cmd
}

// start starts a server on a free port and waits until it answers.
func (k kind) start() (*process, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	args := make([]string, len(k.command))
	for i, a := range k.command {
		args[i] = strings.ReplaceAll(a, "PORT", port)
	}
	p := &process{kind: k, addr: addr, cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var log bytes.Buffer
	p.cmd.Stderr = &log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return p, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("%s does not answer: %s", k.name, log.String())
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM) // if it has ended, there is nothing to stop
	ended := make(chan struct{})
	go func() {
		p.cmd.Wait() // its exit code does not matter any more
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-ended
	}
}

// cpu returns the processor time that all threads of the process have used, from its CPU clock.
func (p *process) cpu() time.Duration {
	var t unix.Timespec
	clock := int32(^p.cmd.Process.Pid)<<3 | 2 // clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &t); err != nil {
		panic(fmt.Sprintf("no CPU clock of %s: %v", p.name, err))
	}
	return time.Duration(t.Nano())
}

// resident returns the bytes of memory that the process has.
func (p *process) resident() int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "statm"))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
