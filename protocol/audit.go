package protocol

import "strings"

// onlyShows reports whether a command of a kind that changes something changes nothing in this form.
func onlyShows(c *call) bool {
	switch c.row.Full {
	case "cluster|config":
		return c.option(2) == "GET"
	case "cluster|gossipkey":
		return c.option(2) == "LIST"
	case "cluster|moves":
		return len(c.args) == 2
	case "cluster|rebalance", "cluster|move", "cluster|drain", "cluster|replace":
		return c.option(len(c.args)-1) == "PLAN"
	}
	return false
}

// audit logs a command that changes the node or the cluster for all clients: who sent it, and the
// error if it failed. Passwords are redacted.
func (s *Server) audit(x *conn, c *call, failed bool) {
	if onlyShows(c) {
		return
	}
	attrs := []any{"command", strings.Join(shown(c), " "), "client", x.origin.address(), "name", x.identity.Load().name}
	if failed {
		s.log.Info("client failed to change the node", append(attrs, "err", c.replies.LastError())...)
		return
	}
	s.log.Info("client changed the node", attrs...)
}
