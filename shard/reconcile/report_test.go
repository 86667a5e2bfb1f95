package reconcile

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// reported waits for a call of Report in which the node reports shard 0.
func reported(t *testing.T, from <-chan []topology.Report) topology.Report {
	t.Helper()
	for {
		select {
		case reports := <-from:
			if i := slices.IndexFunc(reports, func(r topology.Report) bool { return r.Shard == 0 }); i >= 0 {
				return reports[i]
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no report arrives")
		}
	}
}

// A copy whose last primary has resigned reports until it is promoted. Then the node serves the shard.
func TestACopyReportsUntilItIsPromoted(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	reports := make(chan []topology.Report)
	ctx, cancel := context.WithCancel(t.Context())
	s.config.Report = func(list []topology.Report) {
		select {
		case reports <- list:
		case <-ctx.Done():
		}
	}
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Resign, Epoch: s.newest.Load().Shards[0].Epoch, Node: "a"}}})
	s.expect(false)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Tick(ctx)
	}()
	epoch := s.newest.Load().Shards[0].Epoch
	var last topology.Report
	for range 3 { // it repeats them
		last = reported(t, reports)
		if last.Node != "a" || last.Incarnation != 1 || last.Epoch != epoch {
			t.Fatalf("in epoch %d the node reports %+v", epoch, last)
		}
	}
	errs, _ := s.apply(topology.Command{Ops: []topology.Op{promote(epoch)}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	s.expect(true)
	cancel()
	<-ended
	if left, _ := s.tick(copiesOf(s.newest.Load(), s.process, s.state), 1, false); len(left) > 0 {
		t.Errorf("the primary still reports: %+v", left)
	}
}

// Without a leader that could promote it, a copy does not report: it would seal its epoch for nothing.
func TestACopyDoesNotReportWithoutALeader(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	hears := false
	s.config.HearsLeader = func() bool { return hears }
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Resign, Epoch: s.newest.Load().Shards[0].Epoch, Node: "a"}}})
	s.expect(false)
	if got, _ := s.tick(s.copies.getWaiting(), 1, false); len(got) > 0 {
		t.Errorf("it reports %+v", got)
	}
	hears = true
	if got, _ := s.tick(s.copies.getWaiting(), 2, true); len(got) != 1 {
		t.Errorf("once there is a leader it reports %+v", got)
	}
}

// Ticks are counted only while time matters to a copy, so a node that serves its shards alone does not wake up for them.
func TestTicksOnlyWhileACopyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Tick(ctx)
		}()
		ticks := func() uint64 { // in a second
			time.Sleep(time.Second) // what has changed takes effect
			before := s.config.Store.CountTick()
			time.Sleep(time.Second)
			return s.config.Store.CountTick() - before - 1
		}
		if n := ticks(); n > 0 {
			t.Errorf("%d ticks while the node serves", n)
		}
		s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Resign, Epoch: s.newest.Load().Shards[0].Epoch, Node: "a"}}})
		s.expect(false)
		if n := ticks(); n < 35 || n > 45 {
			t.Errorf("%d ticks while a copy reports", n)
		}
		s.apply(topology.Command{Ops: []topology.Op{promote(s.newest.Load().Shards[0].Epoch)}})
		s.expect(true)
		if n := ticks(); n > 0 {
			t.Errorf("%d ticks while the node serves again", n)
		}
		cancel()
		<-ended
	})
}
