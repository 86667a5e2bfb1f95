package protocol

import (
	"strings"
	"time"
)

// speaksHTTP reports whether an unknown command is a line of an HTTP request. A web page can make a
// browser send a request with any body to a port of its machine or network; the lines of that body must
// not be executed as inline commands. Redis checks the same two words.
func speaksHTTP(name []byte) bool {
	return strings.EqualFold(string(name), "post") || strings.EqualFold(string(name), "host:")
}

// endHTTP closes a connection that speaks HTTP, and logs a warning.
func (s *Server) endHTTP(c *conn) {
	c.quit = true
	if dropped, ok := s.httpWarning.pass(time.Now()); ok {
		s.log.Warn("closed a connection that speaks HTTP on the command port: a program uses the wrong port (see --http-port), or a web page attacks this node", "client", c.origin.address(), "suppressed", dropped)
	}
}
