package protocol

import "strings"

// audit leaves a line in the log about a command that changes the node, or the cluster, for all: when, by whom, and with what outcome. Passwords are not in it.
func (s *Server) audit(c *call, failed bool) {
	if c.row.full == "cluster|config" && c.option(2) == "GET" {
		return
	}
	attrs := []any{"command", strings.Join(redacted(c.row, shownArgs(c.args)), " "), "client", c.addr(), "name", c.identity.Load().name}
	if failed {
		s.log.Info("a client wanted to change the node, and failed", append(attrs, "err", c.replies.lastError)...)
		return
	}
	s.log.Info("a client has changed the node", attrs...)
}
