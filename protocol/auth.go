package protocol

import (
	"crypto/subtle"
	"errors"
)

var (
	// ErrNoAuth is returned for a command before AUTH, where there is a password.
	ErrNoAuth = errors.New("Authentication required.")

	errWrongPass  = errors.New("invalid username-password pair or user is disabled.")
	errNoPassword = errors.New("AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	errHelloAuth  = errors.New("HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used " +
		"to authenticate the client and select the RESP protocol version at the same time")
)

// Before AUTH a client is a stranger: it gets room for its password and little else. Redis has the same limits of arguments. All strangers together have a budget of
// their own, from which what one of them sends takes nothing as long as it is short: no number of them takes memory from values or room from uploads.
const (
	maxArgsBeforeAuth = 10
	maxBulkBeforeAuth = 16 << 10 // bytes
	maxLineBeforeAuth = 1 << 10  // bytes
	freeBeforeAuth    = 1 << 10  // bytes of arguments that cost no budget
	strangersBudget   = 16 << 20 // bytes
	strangerOutput    = 1 << 10  // bytes of replies that may wait
)

// deniedText is what a client from elsewhere reads while there is no password.
const deniedText = "DENIED ndring is in protected mode: it has no password, so it takes clients from this machine alone. " +
	"Start it with --requirepass, or with --protected-mode no where the network is trusted."

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

// logIn checks a password and lets the client in. Where there is none, any one will do, as in Redis.
func (c *conn) logIn(user string, password []byte) bool {
	want := c.server.config.Load().Password
	if user != "default" || want != "" && subtle.ConstantTimeCompare([]byte(want), password) != 1 {
		c.server.counters.authFailures.Add(1)
		return false
	}
	c.setAuthenticated(true)
	return true
}

// setAuthenticated changes what the client may do, and how much it may send from its next command on.
func (c *conn) setAuthenticated(yes bool) {
	c.authenticated = yes
	if yes {
		c.out.SetMax(0)
	} else {
		c.out.SetMax(strangerOutput)
	}
	limits := c.config.limits(yes)
	if limits.Budget = c.server.budget; !yes {
		limits.Budget = c.server.strangers
	}
	c.reader.SetLimits(limits)
}

// reset resets the connection: RESP2, no name, no transaction, before AUTH where there is a password.
// It keeps the library's name and version, as Redis does.
func reset(c *call, x *conn) {
	x.endTransaction()
	x.change(func(id *identity) {
		*id = identity{proto: 2, library: id.library, libraryVersion: id.libraryVersion}
	})
	c.replies.RESP3 = false
	x.keys.touch = true
	x.replyMode = replyMode{suppressing: x.replyMode.suppressing, answer: x.replyMode.off} // answered after OFF, not after SKIP
	x.setAuthenticated(x.server.config.Load().Password == "")
	c.replies.Simple("RESET")
}
