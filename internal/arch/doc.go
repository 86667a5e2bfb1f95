// Package arch holds a test and no other code: it checks which package may import which, and a few
// rules that keep the code easy to navigate. The change that adds a package adds its row to
// arch_test.go.
package arch
