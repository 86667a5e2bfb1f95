// Package clusters starts clusters of real processes on loopback for the benchmarks: of ndring and of
// Redis Cluster (or Valkey). It kills and restarts single processes, and reads each system's own view
// of who serves which slots.
package clusters

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// Node is a server process that keeps its ports and its data folder when it is restarted.
type Node struct {
	Name string // ndring: the node id
	Addr string // for clients

	command []string
	log     string // file
	cmd     *exec.Cmd
	exited  chan struct{} // closed once the process has exited
}

// start starts the process. It does not wait until it serves.
func (n *Node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	cmd := exec.Command(n.command[0], n.command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // what NDRING_... a person has set is meant for their own node
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	n.cmd, n.exited = cmd, exited
	go func() {
		cmd.Wait() // the exit code does not matter
		close(exited)
	}()
	return nil
}

// Restart starts the process again after a Kill, with the same ports and folder.
func (n *Node) Restart() error { return n.start() }

// Kill sends SIGKILL, and returns the moment before it did so once the process is gone.
func (n *Node) Kill() time.Time {
	at := time.Now()
	n.cmd.Process.Kill() // an error means that it has exited
	<-n.exited
	return at
}

// Freeze stops the process with SIGSTOP until Thaw.
func (n *Node) Freeze() error { return n.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process run again.
func (n *Node) Thaw() error { return n.cmd.Process.Signal(syscall.SIGCONT) }

// tail returns the last lines of the log.
func (n *Node) tail() string {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	return n.Name + ": " + string(text[max(0, len(text)-1000):])
}

// ask sends one command on a connection of its own.
func (n *Node) ask(words ...string) (string, error) {
	c, err := Dial(n.Addr, askLimit)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.Do(words...)
}

// Counters returns fields of a section of INFO, in their order. A missing one is an error.
func (n *Node) Counters(section string, fields ...string) ([]int64, error) {
	text, err := n.ask("INFO", section)
	if err != nil {
		return nil, err
	}
	values := make([]int64, len(fields))
	for i, field := range fields {
		if values[i], err = strconv.ParseInt(infoField(text, field), 10, 64); err != nil {
			return nil, fmt.Errorf("INFO %s of %s: %s: %w", section, n.Name, field, err)
		}
	}
	return values, nil
}

const askLimit = 2 * time.Second

// Resident returns the resident memory of the process in bytes.
func (n *Node) Resident() int64 {
	text, err := os.ReadFile(n.proc("statm"))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// Written returns the bytes that the process has passed to write(2), to sockets and files together.
func (n *Node) Written() int64 {
	text, _ := os.ReadFile(n.proc("io"))
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, "wchar: "); ok {
			bytes, _ := strconv.ParseInt(value, 10, 64)
			return bytes
		}
	}
	return 0
}

// CPU returns the processor time of all threads of the process, from its CPU clock.
func (n *Node) CPU() time.Duration {
	var t unix.Timespec
	clock := int32(^n.cmd.Process.Pid)<<3 | 2 // clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func (n *Node) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid), file)
}

// freePorts returns ports that are free now, below those that the system assigns to outgoing
// connections: a killed node must find its ports free when it restarts.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := 20000 + rand.IntN(10000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close() // at the end: no port is returned twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports from 20000 to 29999", n)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// poll calls a check every few milliseconds until it returns nil. When ctx is done, it returns the
// last error.
func poll(ctx context.Context, check func() error) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
