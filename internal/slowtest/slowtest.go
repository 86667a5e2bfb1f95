// Package slowtest keeps go test -short, the inner loop, under a minute.
package slowtest

import "testing"

// Skip leaves a test that takes five seconds or more to the full suite.
func Skip(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes five seconds or more: go test without -short runs it")
	}
}
