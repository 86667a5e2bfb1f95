package node

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/loadtest"
)

// Many writers of few keys see a node execute one operation after another.
func TestHistoriesOfALoneNode(t *testing.T) {
	n := openNode(t)
	h := &loadtest.Histories{Addrs: []string{n.ClientAddrs()[0].String()}, Seed: rand.Uint64(), Folder: t.TempDir()}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	if err := h.Run(ctx); err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	final, cancelFinal := context.WithTimeout(t.Context(), clusterTime)
	defer cancelFinal()
	if err := h.FinalReads(final); err != nil {
		t.Error(err)
	}
	r := h.Check()
	t.Logf("%.0f operations/s; %s", float64(r.Total().OK)/took.Seconds(), &r)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.Total().OK < 1000 {
		t.Errorf("only %d operations were acknowledged", r.Total().OK)
	}
}
