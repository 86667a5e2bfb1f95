package replication

import (
	"testing"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// What is appended reaches the other copy though its writer does not wait for it: with a heartbeat.
func TestNothingStaysUnsent(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, nil), startNode(t, n, "b", 1, nil)
	row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a, b)}
	configure(t, row, a, b)
	await(t, "the primary serves", func() bool { return a.set("first", 100) == nil })
	if _, err := a.setAsync("small", 100); err != nil {
		t.Fatal(err)
	}
	await(t, "the other copy sees a small value", func() bool { return b.has("small", 100) })
}

// A batch waits until its writers have waited for it or much is enqueued.
func TestABatchWaitsForMore(t *testing.T) {
	t.Parallel()
	a := startNode(t, newNetwork(), "a", 1, nil)
	p := newPeer(a.repl, replica.Process{Node: "b", Incarnation: 1}) // its goroutines do not run
	s := &stream{peer: p, state: attached, inFlight: inFlight{window: &p.window}}
	p.queue.linked = true
	awake := func() bool {
		select {
		case <-p.wake:
			return true
		default:
			return false
		}
	}
	batch := &shard.Batch{Bytes: make([]byte, 1000)}
	enqueue := func() {
		batch.Last.Seq++
		p.enqueue(s, batch)
	}
	enqueue()
	enqueue()
	if awake() {
		t.Error("the sender was woken before anyone waited")
	}
	p.send()
	if !awake() {
		t.Error("the sender was not woken")
	}
	p.send()
	if awake() {
		t.Error("the sender was woken for nothing")
	}
	for len(p.queue.last)+headBytes+len(batch.Bytes) < sendAt {
		if enqueue(); awake() {
			t.Fatalf("the sender was woken for %d bytes", len(p.queue.last))
		}
	}
	if enqueue(); !awake() {
		t.Errorf("the sender was not woken for %d bytes", len(p.queue.last))
	}
}
