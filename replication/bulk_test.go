package replication

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
	if n.peak == 0 || n.peak > maxUploads {
		t.Errorf("up to %d bulk connections were open at once, want 1 to %d", n.peak, maxUploads)
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
	c := &bulkConn{Conn: ours, total: new(atomic.Int64)}
	if n, err := (&progressWriter{conn: c, note: func(int) {}}).Write(make([]byte, 3*bulkPiece+1)); err != nil || c.sent != int64(n) || n != 3*bulkPiece+1 {
		t.Errorf("%d bytes written, %d counted, %v", n, c.sent, err)
	}
}
