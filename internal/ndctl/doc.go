// Package ndctl is the operators' command line; docs/ndctl.md is made from it. It is a client like
// any other: it learns about a cluster only what the nodes answer. The exceptions are `raft
// recover` and `raft rejoin`, which repair the data folder of a node that does not run (package
// datafolder).
//
// A run is an app: options (what the command line and the environment say), a printer (tables,
// JSON, colours) and a prompt. Commands that need a cluster get a session, which owns all
// connections. A command asks through the session, puts what it learned into a report and shows
// that; a report knows its JSON and how people read it.
//
// The package must never know how nodes reach agreement, nor import the server.
package ndctl
