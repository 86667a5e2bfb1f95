package replication

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

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

// A member that did not know the row yet is asked again, though there is always something else to send: its shard waits for that.
func TestAMemberIsAskedAgainUnderLoad(t *testing.T) {
	t.Parallel()
	a := startNode(t, newNetwork(), "a", 1, nil)
	p := newPeer(a.repl, replica.Process{Node: "b", Incarnation: 1}) // its goroutines do not run
	p.streams[0] = &stream{peer: p, epoch: 1, leader: 1, inFlight: inFlight{window: &p.window}}
	near, far := net.Pipe()
	defer far.Close()
	l := appendLink{peer: p, conn: Conn{Conn: near}, ended: make(chan struct{})}
	l.connected()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		l.send()
	}()
	loaded, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		for ; loaded.Err() == nil; runtime.Gosched() {
			notify(p.wake)
		}
	})
	defer load.Wait()
	defer stop()
	r := newReader(far)
	for asks := range 3 {
		far.SetReadDeadline(time.Now().Add(20 * time.Second))
		f, err := r.read()
		if err != nil || f.kind != kindAsk {
			t.Fatalf("after %d questions: %v, %v", asks, f.kind, err)
		}
		l.acked(&frame{kind: kindAck, epoch: 1, leader: 1, flags: uint8(replica.AckLater)})
	}
	far.Close()
	<-sent
}
