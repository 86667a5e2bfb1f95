package replication

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ndring/ndring/replica"
)

// However many clients write large values at once, few connections carry them: each takes a file descriptor on both nodes.
func TestManyUploadsShareConnections(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, nil), startNode(t, n, "b", 1, nil)
	row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a), Learners: processes(b)}
	configure(t, row, a, b)
	a.proposal(replica.Expand, b.self)
	row.Epoch, row.LeaderEpoch, row.ISR, row.Learners = 2, 1, processes(a, b), nil
	configure(t, row, a, b)
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
