package protocol

import (
	"fmt"
	"strings"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

// instead names what ndring has in place of the Redis commands that users try first.
var instead = map[string]string{
	"get": "NP.GET", "getdel": "NP.GET and DEL", "getex": "NP.GET and EXPIRE", "getset": "NP.GET and NP.SET", "mget": "NP.MGET",
	"set": "NP.SET", "setex": "NP.SET with EX", "psetex": "NP.SET with PX", "setnx": "NP.SET with NX", "mset": "NP.MSET", "append": "NP.SET", "setrange": "NP.SET",
	"getrange": "NP.SLICE", "substr": "NP.SLICE", "strlen": "NP.META", "keys": "SCAN", "dump": "NP.GET", "restore": "NP.SET",
}

// unknownCommand begins as Redis' error does, with up to 128 bytes of the arguments: clients look
// for its beginning. The hint at the end is ndring's own.
func unknownCommand(args []resp.Arg) error {
	shown := ""
	for _, a := range args[1:] {
		if len(shown) >= 128 {
			break
		}
		shown += fmt.Sprintf("'%.*s' ", 128-len(shown), a.Bytes())
	}
	name := args[0].Bytes()
	hint := "stores NumPy arrays, with NP.SET and NP.GET"
	if better := instead[strings.ToLower(string(name[:min(len(name), 32)]))]; better != "" {
		hint = "has " + better
	}
	return fmt.Errorf("unknown command '%.128s', with args beginning with: %s(ndring %s: see docs/commands.md)", name, shown, hint)
}

// speaksHTTP reports whether the name of an unknown command begins a line of an HTTP request. A web
// page can make a browser send a request with any body to a port of its machine or network; the
// lines of that body must not be executed as inline commands. Redis checks the same two words.
func speaksHTTP(name []byte) bool {
	return strings.EqualFold(string(name), "post") || strings.EqualFold(string(name), "host:")
}

// endHTTP closes a connection that speaks HTTP, and logs that from time to time.
func (s *Server) endHTTP(c *conn) {
	c.quit = true
	if dropped, ok := s.httpWarning.pass(time.Now()); ok {
		s.log.Warn("closed a connection that speaks HTTP to the port for commands: a program uses the wrong port (see --http-port), or a web page attacks this node", "client", c.addr(), "more", dropped)
	}
}
