package node

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// logQueue writes the log in a goroutine of its own, so that a caller that logs never waits for the
// reader. A standard error that is a pipe which is not read would otherwise hold up, line by line,
// everything that logs, with the locks that it has. Lines that find no room are dropped and
// counted.
type logQueue struct {
	to   io.Writer
	lost atomic.Int64  // lines since the start
	wake chan struct{} // one at most
	done chan struct{} // closed when run has ended

	mu      sync.Mutex // guards all below
	lines   [][]byte
	bytes   int // of lines. Invariant: bytes <= logRoom.
	untold  int64
	closing bool
}

// logRoom is how many bytes of log may wait.
const logRoom = 1 << 20

// newLogQueue returns a queue that does nothing before run.
func newLogQueue(to io.Writer) *logQueue {
	return &logQueue{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Write implements io.Writer for one line. It never blocks or fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.bytes+len(line) > logRoom {
		q.lose(1)
	} else {
		q.lines = append(q.lines, append([]byte(nil), line...))
		q.bytes += len(line)
	}
	q.mu.Unlock()
	q.nudge()
	return len(line), nil
}

// lose counts lines that are not written. q.mu is held.
func (q *logQueue) lose(lines int64) {
	q.untold += lines
	q.lost.Add(lines)
}

func (q *logQueue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes what is logged until flush. Tell logs how many lines were lost, once lines are read again.
func (q *logQueue) run(tell func(lines int64)) {
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
				tell(lost)
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

// write writes lines and returns how many were lost that is not told yet; none while nothing can be
// told.
func (q *logQueue) write(lines [][]byte) (untold int64) {
	var failed int64
	working := false
	for _, line := range lines {
		_, err := q.to.Write(line)
		working = err == nil
		q.mu.Lock()
		q.bytes -= len(line)
		q.mu.Unlock()
		if err != nil { // the reader has gone, or the disk is full
			failed++
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lose(failed)
	if working {
		untold, q.untold = q.untold, 0
	}
	return untold
}

// flush waits until all is written that was logged, for a while at most. Later lines go nowhere.
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
