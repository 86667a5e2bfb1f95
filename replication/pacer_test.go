package replication

import (
	"testing"
	"time"
)

// While clients have requests, catch-ups together work at most a fifth of the time and send at most so many bytes, and as they can otherwise.
func TestCatchUpsLeaveTime(t *testing.T) {
	t.Parallel()
	var came int64
	p := pacer{requests: func() int64 { return came }}
	now := time.Now()
	one := p.begin(now)
	after := func(d time.Duration, requests int64) time.Duration {
		now, came = now.Add(d), came+requests
		return one.rest(now)
	}
	if d := after(workLeast-1, 1000); d != 0 {
		t.Errorf("a catch-up rests for %v after hardly any work", d)
	}
	if d := after(1, 0); d != restFactor*workLeast {
		t.Errorf("a catch-up rests for %v after %v of work", d, workLeast)
	}
	one.work(now)
	if d := after(10*time.Millisecond, 1); d != 0 {
		t.Errorf("a catch-up rests for %v for one request", d)
	}
	if d := after(10*time.Millisecond, 3); d != 10*restFactor*time.Millisecond {
		t.Errorf("a catch-up rests for %v, which may have counted earlier work", d)
	}
	one.work(now)
	came = 0 // an operator resets the counters
	if d := after(10*time.Millisecond, 0); d != 0 {
		t.Errorf("a catch-up rests for %v after a reset", d)
	}
	two := p.begin(now)
	if d := after(10*time.Millisecond, 100); d != 2*10*restFactor*time.Millisecond {
		t.Errorf("one of two catch-ups rests for %v", d)
	}
	one.work(now)
	one.sent = sentLeast
	if d, most := after(time.Microsecond, 100), time.Duration(2*sentLeast*float64(time.Second)/busyBytes()); d != most-time.Microsecond {
		t.Errorf("one of two catch-ups that has sent %d bytes rests for %v, not until %v have passed", sentLeast, d, most)
	}
	two.end()
	if d := after(time.Second, 1000); d != restMost {
		t.Errorf("a catch-up rests for %v", d)
	}
}

// A catch-up that sends less than its shard appends is not paced until it sends more.
func TestACatchUpEnds(t *testing.T) {
	t.Parallel()
	var l lag
	now := time.Now()
	for i, step := range []struct {
		after          time.Duration
		sent, appended int64 // since the last look
		grows          bool
	}{{0, 10, 1000, false}, {lagTime / 2, 10, 100, false}, {lagTime / 2, 100, 9, false}, {lagTime, 100, 100, true}, {lagTime / 2, 500, 0, true}, {lagTime / 2, 500, 499, false}} {
		now = now.Add(step.after)
		if l.note(now, l.sent+step.sent, l.appended+step.appended); l.grows != step.grows {
			t.Errorf("step %d: grows is %v", i, l.grows)
		}
	}
}
