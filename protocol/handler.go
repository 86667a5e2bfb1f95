package protocol

import (
	"fmt"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/shard"
)

// The types of handlers. The type says what a handler may touch in addition to its call.
type (
	plain     func(*call)                      // nothing
	onKeys    func(*call, *keyAccess)          // the shard of its keys
	onConn    func(*call, *conn)               // its own connection
	onConns   func(*call, *conn, *connections) // all connections
	onCluster func(*call, *router)             // the cluster, and what this node knows of it
	onServer  func(*call, *Server)             // the whole server; prefer one of the functions below
)

// onStore is for a command on all keys of the node.
func onStore(h func(*call, *shard.Store)) onServer {
	return func(c *call, s *Server) { h(c, s.store) }
}

// onTable is for a command about commands.
func onTable(h func(*call, *command.Table)) onServer {
	return func(c *call, s *Server) { h(c, s.table) }
}

func onHost(h func(*call, Host)) onServer {
	return func(c *call, s *Server) { h(c, s.host) }
}

func onPause(h func(*call, *pause)) onServer {
	return func(c *call, s *Server) { h(c, &s.pause) }
}

func onSlowlog(h func(*call, *slowlog)) onServer {
	return func(c *call, s *Server) { h(c, &s.slowlog) }
}

func onLatency(h func(*call, *latency)) onServer {
	return func(c *call, s *Server) { h(c, &s.latency) }
}

// checkHandlers panics at the start if a row has a handler that run does not know, or one for keys
// without keys: no shard would be held for it.
func checkHandlers(t *command.Table) {
	for _, row := range t.All() {
		switch row.Handler.(type) {
		case onKeys:
			if row.Keys.Step == 0 {
				panic(fmt.Sprintf("protocol: command %q has no keys, but a handler for them", row.Full))
			}
		case plain, onConn, onConns, onCluster, onServer, nil:
		default:
			panic(fmt.Sprintf("protocol: command %q has a handler of type %T", row.Full, row.Handler))
		}
	}
}

// run calls the handler of a command.
func (s *Server) run(c *conn, k *call) {
	switch h := k.row.Handler.(type) {
	case onKeys:
		h(k, &c.keys)
	case plain:
		h(k)
	case onConn:
		h(k, c)
	case onCluster:
		h(k, s.router)
	case onServer:
		h(k, s)
	case onConns:
		h(k, c, &s.connections)
	}
}
