package protocol

import "strings"

// audit logs a command that changes the node or the cluster for all clients: who sent it, and the
// error if it failed. Passwords are redacted.
func (s *Server) audit(x *conn, c *call, failed bool) {
	if c.row.Full == "cluster|config" && c.option(2) == "GET" {
		return
	}
	attrs := []any{"command", strings.Join(shown(c), " "), "client", x.origin.address(), "name", x.identity.Load().name}
	if failed {
		s.log.Info("client failed to change the node", append(attrs, "err", c.replies.LastError())...)
		return
	}
	s.log.Info("client changed the node", attrs...)
}
