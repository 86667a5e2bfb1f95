package cluster

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs more tests in parallel under -short: they spend their time on timers of raft and
// gossip, not on the processor.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if testing.Short() && !raceDetector && !chosen {
		flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}
