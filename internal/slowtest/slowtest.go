// Package slowtest keeps go test -short, the inner loop, under a minute.
package slowtest

import (
	"flag"
	"strconv"
	"testing"
)

// Skip leaves a test that takes five seconds or more to the full suite.
func Skip(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes five seconds or more: go test without -short runs it")
	}
}

// Parallel lets n tests of a package run at a time under -short, unless -parallel says otherwise. A
// TestMain calls it where most tests wait for timers, not for a processor.
func Parallel(n int) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if testing.Short() && !chosen {
		_ = flag.Set("test.parallel", strconv.Itoa(n)) // the flag exists in every test binary
	}
}
