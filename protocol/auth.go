package protocol

import "crypto/subtle"

// deniedText is the reply to a client from another machine while there is no password.
const deniedText = "DENIED ndring is in protected mode: it has no password, so it accepts clients from this machine only. " +
	"Start it with --requirepass, or with --protected-mode no if the network is trusted."

func auth(c *call, x *conn) {
	user, password := "default", c.arg(1)
	switch len(c.args) {
	case 2:
		if x.server.config.Load().Password == "" {
			c.replies.Error(errNoPassword)
			return
		}
	case 3:
		user, password = string(c.arg(1)), c.arg(2)
	default:
		c.replies.Error(errSyntax)
		return
	}
	if !x.logIn(user, password) {
		c.replies.Error(errWrongPass)
		return
	}
	c.replies.OK()
}

// logIn authenticates the client. Without a configured password any password is right, as in Redis.
func (c *conn) logIn(user string, password []byte) bool {
	want := c.server.config.Load().Password
	if user != "default" || want != "" && subtle.ConstantTimeCompare([]byte(want), password) != 1 {
		c.wrong.add(c)
		return false
	}
	c.wrong = wrongPasswords{}
	c.setAuthenticated(true)
	return true
}

// reset resets the connection: RESP2, no name, no transaction, not authenticated if there is a password.
// It keeps the library's name and version, as Redis does.
func reset(c *call, x *conn) {
	x.endTransaction()
	x.server.tracker.stop(x)
	x.change(func(id *identity) {
		*id = identity{proto: 2, library: id.library, libraryVersion: id.libraryVersion}
	})
	c.replies.RESP3 = false
	x.keys.touch = true
	x.replyMode = replyMode{suppressing: x.replyMode.suppressing, answer: x.replyMode.off} // answered after OFF, not after SKIP
	x.setAuthenticated(x.server.config.Load().Password == "")
	c.replies.Simple("RESET")
}
