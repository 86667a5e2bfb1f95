package loadtest

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// load runs histories against a fake and returns the report.
func load(t *testing.T, f *fake, h *Histories, limit time.Duration) Report {
	t.Helper()
	h.Addrs = f.addrs
	h.Slack = 30 * time.Millisecond
	h.Timeout = time.Second
	h.Folder = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	runErr := h.Run(ctx)
	ran := time.Since(began)
	final, cancelFinal := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancelFinal()
	if err := h.FinalReads(final); err != nil {
		t.Error(err)
	}
	r := h.Check()
	t.Logf("%.0f operations/s for %v, checked after %v; %s", float64(r.Total().OK)/ran.Seconds(), ran, time.Since(began), &r)
	if runErr != nil && !errors.Is(runErr, ErrViolation) || runErr != nil && len(r.Violations) == 0 {
		t.Errorf("Run: %v", runErr)
	}
	return r
}

func TestHistoriesOfAGoodCluster(t *testing.T) {
	for name, unsteady := range map[string]bool{"steady": false, "unsteady": true} {
		t.Run(name, func(t *testing.T) {
			r := load(t, startFake(t, bugs{}, unsteady), &Histories{Seed: uint64(time.Now().UnixNano()), EachNode: true}, 1500*time.Millisecond)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			for _, name := range append(kindNames[:], "EXEC", "WATCH EXEC", "SET NX REQID", "SET IFVERSION REQID", "GET at each node") {
				if r.Counts[name].OK == 0 {
					t.Errorf("no %s", name)
				}
			}
			// The end of a run leaves at most one request of each writer open.
			sum := r.Total()
			if sum.Aborted == 0 || unsteady && (sum.Unknown == 0 || sum.Refused == 0) || !unsteady && (sum.Unknown > 16 || sum.Refused > 16) {
				t.Errorf("outcomes: %+v", sum)
			}
			if r.Checked > sum.OK+sum.Unknown || r.Checked < sum.OK {
				t.Errorf("%d operations checked of %+v", r.Checked, sum)
			}
		})
	}
}

func TestHistoriesOfABadCluster(t *testing.T) {
	for name, b := range map[string]bugs{
		"loses acknowledged writes": {losesWrites: true},
		"reads stale values":        {readsStale: true},
		"executes requests twice":   {repeatsRequests: true},
		"ignores what is watched":   {ignoresWatch: true},
		"resurrects deleted keys":   {resurrects: true},
		"ignores versions":          {ignoresVersion: true},
		"never expires":             {neverExpires: true},
		"expires too early":         {expiresEarly: true},
		"tears transactions":        {tearsTransactions: true},
		"answers when deposed":      {deposedReads: true},
	} {
		t.Run(name, func(t *testing.T) {
			h, limit := &Histories{Seed: uint64(time.Now().UnixNano()), EachNode: true}, 5*time.Second
			if b.neverExpires { // the final reads find it: many groups, of which some end with a short deadline
				h.Operations, limit = 20, time.Second
			}
			r := load(t, startFake(t, b, false), h, limit)
			if len(r.Violations) == 0 {
				t.Fatal("no violation was found")
			}
			v := r.Violations[0]
			t.Log(v.Excerpt)
			if !strings.Contains(v.Excerpt, "\n> ") && !strings.HasPrefix(v.Excerpt, "> ") {
				t.Errorf("the excerpt shows no culprit")
			}
			if v.Page != "" {
				if page, err := os.ReadFile(v.Page); err != nil || len(page) == 0 {
					t.Errorf("the picture: %v", err)
				}
			}
			if err := r.Err(); err == nil || !strings.Contains(err.Error(), "not linearizable") {
				t.Errorf("Err: %v", err)
			}
		})
	}
}

// Reads alone must change nothing, and Run may go on after a check.
func TestHistoriesOnlyRead(t *testing.T) {
	f := startFake(t, bugs{}, false)
	h := &Histories{Seed: uint64(time.Now().UnixNano()), Writers: 4}
	load(t, f, h, 300*time.Millisecond)
	h.ReadOnly.Store(true)
	f.mu.Lock()
	seq := f.seq
	f.mu.Unlock()
	before := h.Report()
	r := load(t, f, h, 300*time.Millisecond)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if f.mu.Lock(); f.seq != seq {
		t.Error("something was written")
	}
	f.mu.Unlock()
	if r.Counts["SET"] != before.Counts["SET"] || r.Counts["GET"].OK <= before.Counts["GET"].OK {
		t.Errorf("counts %v, before %v", r.Counts, before.Counts)
	}
}

// With dead nodes only, everything is refused, an abort takes effect soon, and the final reads say that they failed.
func TestHistoriesOfDeadNodes(t *testing.T) {
	f := startFake(t, bugs{}, false)
	for _, l := range f.listeners {
		l.Close()
	}
	h := &Histories{Addrs: f.addrs, Writers: 4}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := h.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := h.FinalReads(ctx); err == nil {
		t.Error("the final reads succeeded")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Run and FinalReads took %v", took)
	}
	r := h.Check()
	if sum := r.Total(); r.Err() != nil || sum.OK > 0 || sum.Unknown > 0 || sum.Refused == 0 {
		t.Errorf("%+v, %v", sum, r.Err())
	}
}

// A node that takes commands and does not answer leaves their outcomes open; groups retire soon.
func TestHistoriesOfASilentNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := &Histories{Addrs: []string{l.Addr().String()}, Writers: 8, Timeout: 50 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	if err := h.Run(ctx); err != nil {
		t.Error(err)
	}
	r := h.Check()
	if sum := r.Total(); r.Err() != nil || sum.OK > 0 || sum.Unknown == 0 {
		t.Errorf("%+v, %v", sum, r.Err())
	}
	for _, g := range h.all {
		if g.open > h.Unknown+maxFlying {
			t.Errorf("%s has %d unknown outcomes", g.tag, g.open)
		}
	}
}

// A refusal tells nothing about a request of which an earlier attempt may have taken effect.
func TestRefusedRepeat(t *testing.T) {
	h := &Histories{Addrs: []string{"127.0.0.1:1"}}
	h.begin()
	w := &writer{h: h, random: h.random(0), client: h.client(h.random(0))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, open := range []bool{false, true} {
		if _, err := w.attempt(ctx, &group{tag: "g"}, &operation{}, []string{"NP.SET"}, open); errors.Is(err, errRefused) == open {
			t.Errorf("an earlier attempt %v: %v", open, err)
		}
	}
}
