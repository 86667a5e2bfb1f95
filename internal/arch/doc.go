// Package arch holds no code, only a test: the map of which package may import which, and the few rules that keep the
// house easy to find one's way in. A new package gets its row in arch_test.go with the change that adds it.
package arch
