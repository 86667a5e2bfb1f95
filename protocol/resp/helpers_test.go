package resp

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/internal/resptest"
)

var command = resptest.Command

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func checksum(s string) uint32 { return crc32c.Checksum([]byte(s)) }

// receive waits for a value from a channel, with a timeout.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("timed out waiting for %s", what)
		panic("unreachable")
	}
}
