package resp

import (
	"strings"
	"testing"
)

func TestWireSize(t *testing.T) {
	for _, args := range [][]string{{"PING"}, {"A", "", strings.Repeat("x", 9), strings.Repeat("x", 10), strings.Repeat("x", 1000)}, strings.Fields(strings.Repeat("a ", 11))} {
		parsed := make([]Arg, len(args))
		for i := range args {
			parsed[i] = NewArg([]byte(args[i]))
		}
		if got, want := WireSize(parsed), int64(len(command(args...))); got != want {
			t.Errorf("%d arguments: %d bytes, want %d", len(args), got, want)
		}
	}
}
