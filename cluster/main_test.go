package cluster

import (
	"os"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
)

// Most tests wait for timers of raft and gossip.
func TestMain(m *testing.M) {
	if !raceDetector {
		slowtest.Parallel(16)
	}
	format = topology.LatestFormat
	os.Exit(m.Run())
}
