package replication

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// However many clients write large values at once, few connections carry them: each takes a file descriptor on both nodes.
func TestManyUploadsShareConnections(t *testing.T) {
	t.Parallel()
	n, a, _, _ := pairUp(t, false)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 32 {
		all.Go(func() {
			<-start
			if err := a.set(fmt.Sprint("large-", i), 4<<20); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	most := maxUploads
	if a.repl.stats.CatchUps.Load() > 0 { // the member was slow, and its one catch-up has a connection of its own
		most++
	}
	if n.peak == 0 || n.peak > most {
		t.Errorf("up to %d bulk connections were open at once, want 1 to %d", n.peak, most)
	}
}

func TestReplyLimitGrowsWithTheRequest(t *testing.T) {
	for sent, want := range map[int64]time.Duration{0: time.Minute, 512 << 20: time.Minute + 128*time.Second, 4 << 30: time.Minute + 1024*time.Second} {
		if got := replyLimit(sent); got != want {
			t.Errorf("%d bytes: %v, want %v", sent, got, want)
		}
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go io.Copy(io.Discard, theirs)
	c := &bulkConn{Conn: Conn{Conn: ours}, total: new(atomic.Int64)}
	if n, err := (&progressWriter{conn: c, piece: bulkPiece, note: func(int) {}}).Write(make([]byte, 3*bulkPiece+1)); err != nil || c.sent != int64(n) || n != 3*bulkPiece+1 {
		t.Errorf("%d bytes written, %d counted, %v", n, c.sent, err)
	}
}

// Each piece of a large value on its way counts as progress of the member that takes it: an upload that lasts longer than a
// member may owe a record does not make the primary propose to remove it. Once the pieces end, it does.
func TestASlowUploadIsProgress(t *testing.T) {
	t.Parallel()
	a := startNode(t, newNetwork(), "a", 1, nil)
	a.rests.Store(true)
	b := replica.Process{Node: "b", Incarnation: 1} // nothing reaches it but the upload, so it never acknowledges the no-op
	configure(t, replica.Config{Epoch: 1, Primary: a.self, ISR: []replica.Process{a.self, b}}, a)
	if err := a.store.Shard(1).Role().Open(1, 1); err != nil { // on this node alone
		t.Fatal(err)
	}
	if _, err := a.setIn(1, "large", 4*bulkPiece); err != nil {
		t.Fatal(err)
	}
	entry := a.store.Shard(1).Get([]byte("large"), false)
	defer entry.Release()

	s := a.repl.rows[0].Load().streams[0]
	near, far := net.Pipe()
	defer far.Close()
	forget := context.AfterFunc(s.peer.context, func() { near.Close() })
	s.peer.bulk.put(&bulkConn{Conn: Conn{Conn: near}, reader: newReader(near), reach: t.Context(), forget: forget, total: new(atomic.Int64)})
	go takeUpload(far)

	role, now := a.store.Shard(0).Role(), a.store.Monotonic()
	ticks := func(n uint16) {
		for range n {
			now += 25e6
			role.Tick(now, a.store.CountTick(), true)
		}
	}
	pieces, limit := 0, replica.DefaultTimes.LagTicks
	err := s.peer.upload(t.Context(), s, shard.Large{ID: 1, Entry: entry}, func(int) {
		pieces++
		ticks(limit - 1)
	})
	if err != nil || pieces < 4 {
		t.Fatalf("%d pieces: %v", pieces, err)
	}
	if p := role.Proposal(); p != nil {
		t.Errorf("while bytes moved: %+v is proposed", p)
	}
	ticks(limit)
	a.proposal(replica.Shrink, b)
}

// takeUpload is the other end of a bulk connection: it takes one large value and says that it has it.
func takeUpload(conn net.Conn) {
	r := newReader(conn)
	if _, err := r.read(); err != nil {
		return
	}
	in := &stallReader{conn: conn, from: r, total: new(atomic.Int64)}
	record, err := readRecord(in)
	if err != nil || in.fill(make([]byte, record.Bytes)) != nil {
		return
	}
	done := frame{kind: kindDone}
	conn.Write(done.appendTo(nil))
}
