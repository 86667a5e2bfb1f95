//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ndring/ndring/internal/loadtest"
)

// startLoad writes and reads until stop is called. stop fails the test if any read was wrong.
func startLoad(t *testing.T, l *loadtest.Load, r *rand.Rand) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	failed := make(chan error, 10)
	for i := range 3 {
		writer, reader := rand.New(rand.NewPCG(r.Uint64(), 1)), rand.New(rand.NewPCG(r.Uint64(), 2))
		group.Go(func() { failed <- l.Write(ctx, i, writer) })
		group.Go(func() { failed <- l.Read(ctx, reader) })
	}
	eventually(t, "writes and reads are under way", func() error { return more(min(l.Acks.Load(), l.Reads.Load()), 100) })
	return sync.OnceFunc(func() {
		cancel()
		group.Wait()
		close(failed)
		for err := range failed {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func more(got, want int64) error {
	if got < want {
		return fmt.Errorf("%d, not yet %d", got, want)
	}
	return nil
}
