package ndctl

import (
	"os"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// Most tests wait for timers of a cluster.
func TestMain(m *testing.M) {
	slowtest.Parallel(8)
	os.Exit(m.Run())
}
