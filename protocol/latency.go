package protocol

import (
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/protocol/command"
)

// maxSamples is the number of samples kept for an event, as in Redis.
const maxSamples = 160

// latency records commands that took latency-monitor-threshold or longer, for LATENCY.
type latency struct {
	mu     sync.Mutex // guards all below
	events map[string]*latencyEvent
}

type latencyEvent struct {
	samples []latencySample // oldest first, at most one per second
	longest int64           // ms, since the start or the reset
}

type latencySample struct{ at, ms int64 } // Unix time in s

func (l *latency) add(row *command.Spec, at time.Time, took time.Duration) {
	name := "command"
	if row.Flags&command.Fast != 0 {
		name = "fast-command"
	}
	ms := took.Milliseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events == nil {
		l.events = make(map[string]*latencyEvent)
	}
	event := l.events[name]
	if event == nil {
		event = &latencyEvent{}
		l.events[name] = event
	}
	event.longest = max(event.longest, ms)
	if last := len(event.samples) - 1; last >= 0 && event.samples[last].at == at.Unix() {
		event.samples[last].ms = max(event.samples[last].ms, ms)
		return
	}
	if len(event.samples) == maxSamples {
		event.samples = event.samples[:copy(event.samples, event.samples[1:])]
	}
	event.samples = append(event.samples, latencySample{at.Unix(), ms})
}

func latencyLatest(c *call, l *latency) {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, 0, len(l.events))
	for name := range l.events {
		names = append(names, name)
	}
	slices.Sort(names)
	c.replies.Array(len(names))
	for _, name := range names {
		event := l.events[name]
		newest := event.samples[len(event.samples)-1]
		c.replies.Array(4)
		c.replies.Text(name)
		c.replies.Int(newest.at)
		c.replies.Int(newest.ms)
		c.replies.Int(event.longest)
	}
}

func latencyHistory(c *call, l *latency) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var samples []latencySample
	if event := l.events[string(c.arg(2))]; event != nil {
		samples = event.samples
	}
	c.replies.Array(len(samples))
	for _, s := range samples {
		c.replies.Array(2)
		c.replies.Int(s.at)
		c.replies.Int(s.ms)
	}
}

// latencyReset drops all events, or the named ones, and writes their number.
func latencyReset(c *call, l *latency) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.events)
	if len(c.args) == 2 {
		clear(l.events)
	}
	for _, arg := range c.args[2:] {
		delete(l.events, string(arg.Bytes()))
	}
	c.replies.Int(int64(before - len(l.events)))
}
