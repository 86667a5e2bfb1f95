package main

import (
	"strings"
	"testing"
	"time"
)

func TestSampleCountsWhatCameSince(t *testing.T) {
	began := time.Now()
	at := func(d time.Duration) time.Time { return began.Add(d) }
	reader := &worker{done: []request{{at(-1), 9, ""}, {at(1), 2, ""}, {at(2), 3, "TRYAGAIN"}}}
	writer := &worker{writes: true, done: []request{{at(1), 5, ""}, {at(2), 6, "TRYAGAIN"}, {at(3), 7, "connection"}}}
	all := &traffic{clients: []*worker{reader, writer}}
	s := all.since(began)
	if len(s.gets) != 1 || len(s.sets) != 1 || s.requests() != 5 || s.failures() != 3 || s.reasons() != "TRYAGAIN 2, connection 1" {
		t.Errorf("%+v: %d requests, %s", s, s.requests(), s.reasons())
	}
	if again := all.since(began); again.requests() != 0 {
		t.Errorf("%d requests are counted twice", again.requests())
	}
}

func TestReportHasWhatWasMeasured(t *testing.T) {
	s := &sample{gets: []time.Duration{2 * time.Millisecond}, sets: []time.Duration{time.Millisecond}, failed: map[string]int{"UNCERTAIN": 1}, long: time.Second}
	r := &report{options: &options{backlog: 100, rounds: 3}, busy: &busyResult{traffic: s, counts: counts{shrinks: 3}}}
	if text := r.text(); strings.Contains(text, "Large values") || !strings.Contains(text, "| 0 | 3 | 0 | 0 | 0 | 3 | **1** |") || !strings.Contains(text, "UNCERTAIN 1") {
		t.Error(text)
	}
	r.fromLog = []caught{{healthy: 100, lone: 200, during: 90, took: 2 * time.Second}, {healthy: 100, lone: 200, during: 80, took: time.Second}, {healthy: 100, lone: 100, during: 70, took: time.Second}}
	if text := r.text(); !strings.Contains(text, "| 100 | 200 | 80 | **0.80** | **0.45** |") {
		t.Error(text)
	}
}
