// Package node joins the parts of ndring into a running node. It is the only package that sees all of them.
//
// The order of a start: the store, then the client listeners, then the HTTP port, which says "ready" only when all is there. A stop goes
// the other way round: not ready, no new clients, commands under way end, then the store.
package node
