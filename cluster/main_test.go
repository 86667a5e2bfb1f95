package cluster

import (
	"github.com/ndring/ndring/internal/slowtest"
	"os"
	"testing"
)

// Most tests wait for timers of raft and gossip.
func TestMain(m *testing.M) {
	if !slowtest.Race {
		slowtest.Parallel(16)
	}
	os.Exit(m.Run())
}
