package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runPython makes a process with our client, with its defaults, write and read arrays of its own, in turn.
func (t *traffic) runPython(b *bench, name string, pace time.Duration, sizes ...int) error {
	args := []string{"python/elastic.py", "--name", name, "--pace", fmt.Sprint(pace.Seconds())}
	for _, n := range b.cluster.Nodes {
		args = append(args, "--node", n.Addr)
	}
	for _, size := range sizes {
		args = append(args, strconv.Itoa(size))
	}
	cmd := exec.Command(b.python, args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH=../python")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(t.ctx, func() { in.Close() }) // it checks all it has written, and ends
	t.group.Go(func() {
		defer stop()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if err := t.pythonSays(lines.Text()); err != nil {
				t.accuse(fmt.Errorf("%s: %w", name, err))
			}
		}
		if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
			t.accuse(fmt.Errorf("%s: %w", name, err))
		}
	})
	return nil
}

// pythonSays notes a line: Unix time, set or get, key, bytes, seconds, and the error, if any. A line that begins with "wrong" says what is
// not as it was written.
func (t *traffic) pythonSays(line string) error {
	if text, wrong := strings.CutPrefix(line, "wrong "); wrong {
		return errors.New(text)
	}
	words := strings.SplitN(line, "\t", 6)
	if len(words) != 6 {
		return fmt.Errorf("it says %q", line)
	}
	at, err1 := strconv.ParseFloat(words[0], 64)
	size, err2 := strconv.Atoi(words[3])
	seconds, err3 := strconv.ParseFloat(words[4], 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	t.add(request{
		key: words[2], write: words[1] == "set", size: size, failed: words[5],
		at: time.UnixMicro(int64(at * 1e6)), took: time.Duration(seconds * float64(time.Second)),
	})
	return nil
}
