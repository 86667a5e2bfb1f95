package protocol

import "github.com/ndring/ndring/protocol/acl"

// deniedText is the reply to a client from another machine while there is no password.
const deniedText = "DENIED ndring is in protected mode: it has no password, so it accepts clients from this machine only. " +
	"Start it with --requirepass, or with --protected-mode no if the network is trusted."

func auth(c *call, x *conn) {
	user, password := acl.DefaultName, c.arg(1)
	switch len(c.args) {
	case 2:
		if x.server.accounts.users.Load().Default().NoPass() {
			c.replies.Error(errNoPassword)
			return
		}
	case 3:
		user, password = string(c.arg(1)), c.arg(2)
	default:
		c.replies.Error(errSyntax)
		return
	}
	if !x.login.try(c, user, password) {
		c.replies.Error(errWrongPass)
		return
	}
	c.replies.OK()
}

// try authenticates the client. Any password is right for a user that needs none, as in Redis.
func (l *login) try(k *call, user string, password []byte) bool {
	l.follow()
	u := l.users.Authenticate(user, password)
	if u == nil {
		l.note(deniedBy{reasonAuth, string(k.arg(0)), user})
		l.conn.wrong.add(l.conn)
		return false
	}
	l.conn.wrong = wrongPasswords{}
	l.become(u, true)
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
	x.login.reset()
	c.replies.Simple("RESET")
}
