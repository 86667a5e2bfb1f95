package shard

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/replica"
)

// largePair is a pair that writes a large value, which is on its way to the other copy until arrive is called.
func largePair(t *testing.T) (p *pair, arrive func(), written chan error) {
	p = newPair(t, false)
	p.sh.writer.underway.quietTime, p.sh.writer.underway.proposalTime = time.Hour, time.Hour
	under, arrived := make(chan struct{}), make(chan struct{})
	p.replicator.upload = func(ctx context.Context) {
		close(under)
		select {
		case <-arrived:
		case <-ctx.Done():
			t.Error("the gate has closed while a large value was on its way")
		}
	}
	written = make(chan error, 1)
	go func() { written <- p.write(strings.Repeat("v", 2*UploadBytes)) }()
	<-under
	return p, func() { close(arrived) }, written
}

// write writes a value as a client does, and returns once it is appended.
func (p *pair) write(text string) error {
	if !p.sh.Acquire() {
		return errors.New("the shard is closed")
	}
	defer p.sh.Release()
	_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text(text)})
	return err
}

// watched counts how often a wait looks whether it should end.
type watched struct {
	context.Context
	looks atomic.Int64
}

func (w *watched) Err() error {
	w.looks.Add(1)
	return w.Context.Err()
}

// While a large value is on its way, and until it is committed, a handover leaves the shard open.
func TestHandoverWaitsForALargeValue(t *testing.T) {
	t.Parallel()
	p, arrive, written := largePair(t)
	defer p.end()
	ended := make(chan error, 1)
	ctx := &watched{Context: t.Context()}
	go func() { ended <- p.sh.Role().Transfer(ctx, p.row.Epoch, there) }()
	small := func(when string) {
		before := ctx.looks.Load()
		eventually(t, "the handover waits: "+when, func() bool { return ctx.looks.Load() > before+2 })
		if err := p.write("small"); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	small("on its way")
	arrive()
	must(t, 0, <-written)
	small("appended")
	if p.sh.Role().Proposal() != nil {
		t.Error("the handover is proposed before the value is committed")
	}
	p.ack(p.newest())
	must(t, 0, <-ended)
	if w := p.sh.Role().Proposal(); w == nil || w.Kind != replica.Handover || p.sh.Serving() {
		t.Errorf("after the handover the proposal is %v, serving %v", w, p.sh.Serving())
	}
}

// A shard that is never quiet is handed over all the same.
func TestHandoverWithoutAQuietMoment(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	p.sh.writer.underway.quietTime = time.Millisecond
	defer p.sh.writer.underway.begin(2 * UploadBytes)()
	must(t, 0, p.sh.Role().Transfer(t.Context(), p.row.Epoch, there))
	if w := p.sh.Role().Proposal(); w == nil || w.Kind != replica.Handover {
		t.Errorf("the proposal is %v", w)
	}
}

// The canceled context of a stopping node ends the wait at once.
func TestHandoverDoesNotOutliveItsContext(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	p.sh.writer.underway.quietTime = time.Hour
	defer p.sh.writer.underway.begin(2 * UploadBytes)()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	ctx := &watched{Context: canceled}
	if err := p.sh.Role().Transfer(ctx, p.row.Epoch, there); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if looks := ctx.looks.Load(); looks != 2 { // one that ends the wait, one before the gate would close
		t.Errorf("it has looked %d times whether its time is over", looks)
	}
	if !p.sh.Serving() {
		t.Error("the shard was closed")
	}
}

// A copy that would lack a large value on its way is not proposed for the ISR. A large value that comes while a copy is proposed waits
// until the row has it, and then travels to it, too.
func TestLargeValuesAndProposedCopies(t *testing.T) {
	t.Parallel()
	third := replica.Process{Node: "third", Incarnation: 1}
	p, arrive, written := largePair(t)
	defer p.end()
	p.row.Learners = []replica.Process{third}
	p.goOn(here, there)
	p.replicator.heard = p.mono()
	ready := func() {
		p.sh.Role().Acked(third, replica.Ack{Epoch: p.row.Epoch, Leader: p.row.LeaderEpoch, Written: p.newest(), Synced: p.newest()})
	}
	ready()
	tick := func() *replica.Proposal { // the other copies are there: none is proposed for removal
		p.sh.Role().Contact(there, true)
		p.sh.Role().Contact(third, true)
		return p.sh.Role().Tick(p.mono(), p.CountTick(), true).Proposal
	}
	for range 20 {
		if w := tick(); w != nil {
			t.Fatalf("proposed while a large value is on its way: %v", w)
		}
		time.Sleep(time.Millisecond)
	}
	arrive()
	must(t, 0, <-written)
	p.ack(p.newest())
	ready()
	eventually(t, "the copy is proposed", func() bool { w := tick(); return w != nil && w.Kind == replica.Expand })

	began := make(chan bool, 1)
	p.replicator.upload = func(context.Context) { began <- p.sh.Role().Proposal() == nil }
	go func() { written <- p.write(strings.Repeat("w", 2*UploadBytes)) }()
	select {
	case <-began:
		t.Fatal("the value travels before the row has the proposed copy")
	case <-time.After(50 * time.Millisecond): // it waits for an hour
	}
	p.row.Learners = nil
	p.goOn(here, there, third)
	if !<-began {
		t.Error("the value travels while a copy is proposed")
	}
	must(t, 0, <-written)
}
