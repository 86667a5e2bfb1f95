package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ndring/ndring/bench/ready"
)

// kind is a server that can be measured.
type kind struct {
	name      string
	memcached bool     // speaks the memcached text protocol; otherwise RESP
	prefix    string   // of the names of SET and GET
	command   []string // PORT stands for the port
	withTLS   []string // command with TLS, where CERT and KEY stand for files; nil if the server has none
	secure    bool     // command is withTLS
	version   []string // prints it
	stores    bool
}

// question returns how to ask a server whether it is ready.
func (k kind) question() ready.Question {
	switch {
	case k.secure:
		return ready.SecureKeys
	case k.memcached:
		return ready.Version
	case !k.stores:
		return ready.Ping
	default:
		return ready.Keys
	}
}

func kinds(binary, base, root string) []kind {
	redis := []string{"--port", "PORT", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"}
	secure := append([]string{"--port", "0", "--tls-port", "PORT", "--tls-cert-file", "CERT", "--tls-key-file", "KEY", "--tls-ca-cert-file", "CERT", "--tls-auth-clients", "no"}, redis[2:]...)
	valkey := []string{"chroot", root, "/usr/bin/valkey-server"}
	memcached := []string{"memcached", "-p", "PORT", "-U", "0", "-l", "127.0.0.1", "-m", "8192", "-I", "256m", "-c", "1024", "-t", "4"}
	if os.Getuid() == 0 {
		memcached = append(memcached, "-u", "root")
	}
	self, _ := os.Executable()
	return []kind{
		ndring("ndring", binary),
		ndring("base", base),
		{name: "redis", command: append([]string{"redis-server"}, redis...), withTLS: append([]string{"redis-server"}, secure...), version: []string{"redis-server", "--version"}, stores: true},
		{name: "valkey", command: slices.Concat(valkey, redis), withTLS: slices.Concat(valkey, secure), version: slices.Concat(valkey, []string{"--version"}), stores: true},
		{name: "memcached", memcached: true, command: memcached, version: []string{"memcached", "--version"}, stores: true},
		{name: "null", command: []string{self, "null", "PORT"}},
	}
}

func ndring(name, binary string) kind {
	command := []string{binary, "--port", "PORT", "--http-port", "0", "--gossip-port", "0", "--dir", ""}
	return kind{
		name: name, prefix: "NP.", command: command, withTLS: append(slices.Clone(command), "--tls-cert", "CERT", "--tls-key", "KEY"), version: []string{binary, "version"}, stores: true,
	}
}

// process is a running server.
type process struct {
	kind
	addr  string
	cmd   *exec.Cmd
	ended context.Context // done once the process has exited
}

const startLimit = 2 * time.Minute // a server may load gigabytes

var errEnded = errors.New("the process has ended")

// start starts a server on a free port and waits until it serves keys.
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
		args[i] = strings.NewReplacer("PORT", port, "CERT", certFile, "KEY", keyFile).Replace(a)
	}
	p := &process{kind: k, addr: addr, cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var log bytes.Buffer
	p.cmd.Stderr = &log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ended, end := context.WithCancelCause(context.Background())
	p.ended = ended
	go func() {
		p.cmd.Wait() // the exit code does not matter
		end(errEnded)
	}()
	ctx, cancel := context.WithTimeout(ended, startLimit)
	defer cancel()
	if err := ready.Wait(ctx, addr, k.question()); err != nil {
		p.kill()
		return nil, fmt.Errorf("%s: %w: %s", k.name, err, log.String())
	}
	return p, nil
}

// stop asks a server to exit, and kills it if that takes too long.
func (p *process) stop() { p.end(syscall.SIGTERM, 5*time.Second) }

func (p *process) end(sig syscall.Signal, limit time.Duration) {
	p.cmd.Process.Signal(sig) // an error means that it has exited
	select {
	case <-p.ended.Done():
	case <-time.After(limit):
		p.kill()
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended.Done()
}

// cpu returns the processor time of all threads of the process, from its CPU clock.
func (p *process) cpu() time.Duration {
	var t unix.Timespec
	clock := int32(^p.cmd.Process.Pid)<<3 | 2 // clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &t); err != nil {
		panic(fmt.Sprintf("no CPU clock of %s: %v", p.name, err))
	}
	return time.Duration(t.Nano())
}

// resident returns the resident memory of the process in bytes.
func (p *process) resident() int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "statm"))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
