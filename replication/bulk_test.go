package replication

import (
	"fmt"
	"sync"
	"testing"
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
