// Package ndctl is the operators' command line: what stands in docs/ndctl.md. It is a client like any other, which knows of a cluster what the nodes tell; only `raft recover` works on the folder of a
// node that does not run. It must never know how nodes agree.
package ndctl
