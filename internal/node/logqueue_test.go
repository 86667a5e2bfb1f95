package node

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// A reader that does not read blocks no logging. Dropped lines are counted, and reported when it reads again.
func TestUnreadLog(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	q := newLogQueue(w)
	line := []byte(strings.Repeat("x", 99) + "\n")
	go q.run(func(lines int64) { fmt.Fprintf(q, "lost %d\n", lines) })
	const written = 3 * logRoom / 100
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for range written / 4 {
					q.Write(line)
				}
			})
		}
		wait.Wait()
	}()
	select {
	case <-logged:
	case <-time.After(time.Minute):
		t.Fatal("those who log wait for the reader")
	}
	if lost := q.lost.Load(); lost < written/2 {
		t.Errorf("%d of %d lines are lost", lost, written)
	}
	q.flush(time.Millisecond) // returns although nothing is read
	q.Write(line)
	read := make(chan string)
	go func() {
		all, _ := io.ReadAll(r)
		read <- string(all)
	}()
	<-q.done
	w.Close()
	if all, lost := <-read, q.lost.Load(); strings.Count(all, string(line))+int(lost) != written/4*4+1 {
		t.Errorf("%d lines are written and %d lost, of %d", strings.Count(all, string(line)), lost, written/4*4+1)
	}
}

// flaky is a writer that fails for a while.
type flaky struct {
	mu      sync.Mutex // guards all below
	failing bool
	text    strings.Builder
}

func (f *flaky) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing {
		return 0, errors.New("no space left on device")
	}
	return f.text.Write(b)
}

func (f *flaky) fail(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = yes
}

// Lines that could not be written are reported as soon as one can be.
func TestFailingLog(t *testing.T) {
	t.Parallel()
	to := &flaky{failing: true}
	q := newLogQueue(to)
	go q.run(func(lines int64) { fmt.Fprintf(q, "lost %d\n", lines) })
	for range 3 {
		fmt.Fprintln(q, "unheard")
	}
	for deadline := time.Now().Add(time.Minute); q.lost.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 3 lines count as lost", q.lost.Load())
		}
	}
	to.fail(false)
	fmt.Fprintln(q, "heard")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		to.mu.Lock()
		got := to.text.String()
		to.mu.Unlock()
		if got == "heard\nlost 3\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log has %q", got)
		}
	}
	fmt.Fprintln(q, "the end")
	q.flush(time.Minute)
	if got := to.text.String(); got != "heard\nlost 3\nthe end\n" {
		t.Errorf("the log has %q", got)
	}
}
