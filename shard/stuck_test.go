package shard

import (
	"errors"
	"testing"

	"github.com/ndring/ndring/persistence"
)

// A primary is stuck when one write to its log has been under way for more than stuckTime, or when its log has stopped. Many
// short writes, one behind the other, are no long one.
func TestStuck(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	check := func(when string, want bool) {
		t.Helper()
		if got := p.sh.Primary().Stuck(); got != want {
			t.Errorf("%s: stuck is %v", when, got)
		}
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	p.hang = func() {
		begun <- struct{}{}
		<-goOn
	}
	result := make(chan error, 1)
	begin := func() {
		go func() {
			_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
			result <- err
		}()
		<-begun
		check("a write has just begun", false)
	}
	end := func() {
		goOn <- struct{}{}
		must(t, 0, <-result)
	}
	for range 3 {
		begin()
		p.now += stuckTime.Milliseconds()
		check("a write is under way for as long as it may be", false)
		end()
	}
	begin()
	p.now += stuckTime.Milliseconds() + 1
	check("a write is under way for longer", true)
	end()
	check("the log goes on", false)

	p.hang, p.broken = nil, true
	if err := p.sh.Member().SyncLog(p.sh.writer.log.Position()); !errors.Is(err, persistence.ErrStopped) {
		t.Fatalf("a sync on a broken disk: %v", err)
	}
	p.broken = false
	check("the log has stopped", true)
}
