package replication

import (
	"testing"
	"time"
)

// While clients are busy, catch-ups together work at most a quarter of the time and send at most so many bytes. Without busy clients
// nothing limits them.
func TestCatchUpsLeaveTime(t *testing.T) {
	t.Parallel()
	var came int64
	p := pacer{requests: func() int64 { return came }}
	now := time.Now()
	one := p.begin(now)
	after := func(d time.Duration, requests, sent int64) time.Duration {
		now, came, one.sent = now.Add(d), came+requests, one.sent+sent
		return one.rest(now)
	}
	for _, step := range []struct {
		what           string
		takes          time.Duration
		requests, sent int64
		rests          time.Duration
	}{
		{"before the rate is known", rateTime - 1, 1000, 0, 0},
		{"once it is known", 1, 0, 0, 0}, // the work before has not counted
		{"after hardly any work", workLeast - 2, 0, sentLeast - 1, 0},
		{"after some work", 1, 0, 0, restFactor * workLeast},
		{"while one request comes", rateTime, 1, 0, 0},
		{"while some come", rateTime, 9, 0, 0},
		{"while many come", rateTime, 10, 0, restMost},
	} {
		if d := after(step.takes, step.requests, step.sent); d != step.rests {
			t.Errorf("%s, a catch-up rests for %v, not %v", step.what, d, step.rests)
		}
	}
	one.work(now)
	two := p.begin(now)
	if d := after(10*time.Millisecond, 0, 0); d != 2*10*restFactor*time.Millisecond {
		t.Errorf("one of two catch-ups rests for %v", d)
	}
	one.work(now)
	if d, most := after(time.Microsecond, 0, sentLeast), time.Duration(2*sentLeast*float64(time.Second)/busyBytes()); d != most-time.Microsecond {
		t.Errorf("one of two catch-ups that has sent %d bytes rests for %v, not until %v have passed", sentLeast, d, most)
	}
	two.end()
	came = 0 // an operator resets the counters
	if d := after(rateTime, 0, sentLeast); d != 0 {
		t.Errorf("a catch-up rests for %v after a reset", d)
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

// Catch-ups together keep to the rate, whatever each of them sends at once, and save up nothing while none sends.
func TestLimiter(t *testing.T) {
	rate := int64(0)
	l := limiter{rate: func() int64 { return rate }}
	at := time.Unix(1000, 0)
	if d := l.wait(at, 1<<30); d != 0 {
		t.Errorf("without a limit a catch-up waits %v", d)
	}
	rate = 1 << 20
	for i, sent := range []int{1 << 19, 1 << 19, 1 << 20} { // of several catch-ups at one time
		if d, want := l.wait(at, sent), []time.Duration{time.Second / 2, time.Second, 2 * time.Second}[i]; d != want {
			t.Errorf("the %dth waits %v, want %v", i, d, want)
		}
	}
	if d := l.wait(at.Add(time.Hour), 1<<20); d != time.Second {
		t.Errorf("after an hour's rest it waits %v", d)
	}
}
