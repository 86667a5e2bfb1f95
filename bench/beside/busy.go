package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// busyResult is the traffic on a busy machine.
type busyResult struct {
	traffic *sample
	counts
}

const busyPace = 10 * time.Millisecond

// busyMachine measures small requests while other processes keep the processors busy.
func (b *bench) busyMachine() error {
	t, err := b.small(smallKeys, busyPace, anywhere)
	if err != nil {
		return err
	}
	t.start(4, 4)
	defer t.stop()
	stop, err := spin(b.spinners)
	defer stop()
	if err != nil {
		return err
	}
	earlier, err := stateOf(b.cluster)
	if err != nil {
		return err
	}
	r := &busyResult{}
	began := time.Now()
	if err := b.sleep(b.busyFor); err != nil {
		return err
	}
	r.traffic = t.since(began)
	now, err := stateOf(b.cluster)
	if err != nil {
		return err
	}
	r.counts = now.since(earlier)
	b.report.busy = r
	return nil
}

// spinArgument makes this program a process that only keeps a processor busy.
const spinArgument = "keep-a-processor-busy"

func spinIfAsked() {
	if len(os.Args) != 2 || os.Args[1] != spinArgument {
		return
	}
	for {
	}
}

// spin starts processes that keep the processors busy. They end with stop, and with this process.
func spin(n int) (stop func(), err error) {
	var all []*exec.Cmd
	stop = func() {
		for _, cmd := range all {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	program, err := os.Executable()
	if err != nil {
		return stop, err
	}
	for range n {
		cmd := exec.Command(program, spinArgument)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return stop, fmt.Errorf("start a process that keeps a processor busy: %w", err)
		}
		all = append(all, cmd)
	}
	return stop, nil
}
