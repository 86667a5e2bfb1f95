package protocol

import "github.com/ndring/ndring/protocol/resp"

// replyMode is the state of CLIENT REPLY.
type replyMode struct {
	off  bool // no replies until ON
	skip bool // no reply to the next command

	suppressing bool // the reply to the current command is suppressed
	answer      bool // and yet it is sent: the command ended the suppression
}

// suppressed are the replies that a connection has set aside while it executes a command to which the client
// gets no reply. The zero value has set none aside.
type suppressed struct {
	replies resp.Chain
	on      bool
}

// suppress sets the pending replies aside if the reply to the next command is to be dropped.
func (m *replyMode) suppress(c *conn) (aside suppressed) {
	if !m.off && !m.skip {
		return aside
	}
	if c.unsettled.written() { // settle finds them only where they are now
		c.settle()
	}
	aside = suppressed{c.replies.Out, true}
	c.replies.Out = resp.Chain{}
	m.skip, m.suppressing, m.answer = false, true, false
	return aside
}

// restore undoes suppress, and drops the reply to the command unless it must be sent.
func (aside suppressed) restore(c *conn) {
	if !aside.on {
		return
	}
	written := c.replies.Out.Take()
	c.replies.Out = aside.replies
	if c.replyMode.answer {
		c.replies.Out.Append(written)
	} else {
		resp.Release(written)
		c.unsettled.drop()
	}
	c.replyMode.suppressing, c.replyMode.answer = false, false
}
