package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ndring/ndring/bench/npy"
	"github.com/ndring/ndring/bench/ready"
)

// live is a real server.
type live struct {
	name, prefix string
	command      []string
}

func servers(binary string) []live {
	return []live{
		{"ndring", "NP.", []string{binary, "--port", "PORT", "--http-port", "0", "--dir", ""}},
		{"redis", "", []string{"redis-server", "--port", "PORT", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}},
	}
}

// window is how many requests are sent together: the GETs, then the SETs of the misses.
const window = 32

// run replays a trace against a fresh server.
func (s live) run(t *trace, limit int64, policy string) (result, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return result{}, err
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	args := strings.Split(strings.ReplaceAll(strings.Join(s.command, "\x00"), "PORT", port), "\x00")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait() // killed: the exit code says only that
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := ready.Wait(ctx, addr, ready.Keys); err != nil {
		return result{}, err
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	a := &asker{r: bufio.NewReaderSize(c, 1<<20), w: bufio.NewWriterSize(c, 1<<20), prefix: s.prefix}
	// A server reaches its own memory use only after some work.
	warm := *t
	warm.requests = t.requests[:min(len(t.requests), 20*window)]
	for range 20 {
		if _, err := a.follow(&warm); err != nil {
			return result{}, err
		}
		if err := a.ok("FLUSHALL"); err != nil {
			return result{}, err
		}
	}
	time.Sleep(300 * time.Millisecond) // both servers check their memory several times a second
	empty, err := a.info("used_memory")
	if err != nil {
		return result{}, err
	}
	for name, value := range map[string]string{"maxmemory": fmt.Sprint(empty + limit), "maxmemory-policy": policy} {
		if err := a.ok("CONFIG", "SET", name, value); err != nil {
			return result{}, err
		}
	}
	r, err := a.follow(t)
	if err != nil {
		return r, err
	}
	r.used, err = a.info("used_memory")
	return r, err
}

type asker struct {
	r      *bufio.Reader
	w      *bufio.Writer
	prefix string
}

func (a *asker) send(args ...string) {
	fmt.Fprintf(a.w, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(a.w, "$%d\r\n", len(arg))
		a.w.WriteString(arg)
		a.w.WriteString("\r\n") // an error shows at the next Flush
	}
}

// reply reads a simple reply or a bulk string. Of a bulk string it returns only the length; -1: null.
func (a *asker) reply() (line string, n int, err error) {
	line, err = a.r.ReadString('\n')
	if err != nil {
		return "", 0, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '-':
		return "", 0, fmt.Errorf("%s", line)
	case '$':
		if n, err = strconv.Atoi(line[1:]); err == nil && n >= 0 {
			_, err = a.r.Discard(n + 2)
		}
	}
	return line, n, err
}

func (a *asker) ok(args ...string) error {
	a.send(args...)
	if err := a.w.Flush(); err != nil {
		return err
	}
	line, _, err := a.reply()
	if err == nil && line != "+OK" {
		err = fmt.Errorf("%v: %s", args, line)
	}
	return err
}

func (a *asker) info(field string) (int64, error) {
	a.send("INFO", "memory")
	if err := a.w.Flush(); err != nil {
		return 0, err
	}
	line, err := a.r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil {
		return 0, err
	}
	text := make([]byte, n+2)
	if _, err := io.ReadFull(a.r, text); err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), field+":")
	value, _, _ := strings.Cut(rest, "\r\n")
	return strconv.ParseInt(value, 10, 64)
}

// follow gets each key of the trace and stores the misses.
func (a *asker) follow(t *trace) (r result, err error) {
	files := map[int32]string{} // by size
	for at := 0; at < len(t.requests); at += window {
		some := t.requests[at:min(at+window, len(t.requests))]
		for _, key := range some {
			a.send(a.prefix+"GET", name(key))
		}
		if err := a.w.Flush(); err != nil {
			return r, err
		}
		var missed []uint32
		for _, key := range some {
			_, n, err := a.reply()
			if err != nil {
				return r, err
			}
			if n < 0 {
				missed = append(missed, key)
				continue
			}
			r.hits++
			r.hitBytes += int64(t.sizes[key])
		}
		for _, key := range missed {
			size := t.sizes[key]
			if _, ok := files[size]; !ok {
				files[size] = string(npy.Float32(int(size) &^ 3))
			}
			a.send(a.prefix+"SET", name(key), files[size])
		}
		if err := a.w.Flush(); err != nil {
			return r, err
		}
		for range missed {
			if _, _, err := a.reply(); err != nil {
				return r, err
			}
		}
	}
	a.send("DBSIZE")
	if err := a.w.Flush(); err != nil {
		return r, err
	}
	line, _, err := a.reply()
	if err != nil {
		return r, err
	}
	r.keys, err = strconv.Atoi(line[1:])
	return r, err
}

func name(key uint32) string { return fmt.Sprintf("k%08d", key) }
