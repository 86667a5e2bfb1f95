package node

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// logQueue writes the log in its own goroutine, so that logging never waits for the reader. Otherwise a pipe that is not
// read would block, line by line, everything that logs, with the locks that it holds. Lines beyond logRoom are dropped
// and counted.
type logQueue struct {
	to   io.Writer
	lost atomic.Int64  // dropped lines since the start
	wake chan struct{} // capacity 1
	done chan struct{} // closed when run has ended

	mu         sync.Mutex // guards all below
	lines      [][]byte
	bytes      int   // of lines and of those being written. Invariant: 0 <= bytes <= logRoom.
	unreported int64 // dropped lines that run has not reported yet
	closing    bool
}

// logRoom bounds the bytes that wait to be written.
const logRoom = 1 << 20

// newLogQueue returns a queue that writes nothing before run.
func newLogQueue(to io.Writer) *logQueue {
	return &logQueue{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Write implements io.Writer for one line. It never blocks and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.bytes+len(line) > logRoom {
		q.drop(1)
	} else {
		q.lines = append(q.lines, append([]byte(nil), line...))
		q.bytes += len(line)
	}
	q.mu.Unlock()
	q.nudge()
	return len(line), nil
}

// drop counts lines that are not written. q.mu is held.
func (q *logQueue) drop(lines int64) {
	q.unreported += lines
	q.lost.Add(lines)
}

func (q *logQueue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes the log until flush. It calls report with the number of dropped lines once lines can be written again.
func (q *logQueue) run(report func(lines int64)) {
	defer close(q.done)
	for range q.wake {
		for {
			lines, closing := q.take()
			if len(lines) == 0 {
				if closing {
					return
				}
				break
			}
			if lost := q.write(lines); lost > 0 {
				report(lost)
			}
		}
	}
}

func (q *logQueue) take() (lines [][]byte, closing bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, q.lines = q.lines, nil
	return lines, q.closing
}

// write writes lines. It returns the number of dropped lines to report; 0 while writing fails, since a report would
// fail too.
func (q *logQueue) write(lines [][]byte) (unreported int64) {
	var failed int64
	working := false
	for _, line := range lines {
		_, err := q.to.Write(line)
		working = err == nil
		q.mu.Lock()
		q.bytes -= len(line)
		q.mu.Unlock()
		if err != nil { // the reader is gone, or the disk is full
			failed++
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(failed)
	if working {
		unreported, q.unreported = q.unreported, 0
	}
	return unreported
}

// flush waits until everything logged so far is written, but no longer than wait. Later lines are not written.
func (q *logQueue) flush(wait time.Duration) {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.nudge()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}
