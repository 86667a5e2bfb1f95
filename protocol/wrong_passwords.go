package protocol

import "time"

// What a wrong password costs the connection that gave it. Other connections wait for nothing.
const (
	firstPenalty = time.Millisecond
	maxPenalty   = 250 * time.Millisecond
)

// wrongPasswords are those of one connection since it last logged in.
type wrongPasswords struct {
	next, due time.Duration // for the next one, and not served yet
}

// add logs a failed login, which login.note counts.
func (w *wrongPasswords) add(c *conn) {
	w.next = min(max(2*w.next, firstPenalty), maxPenalty)
	w.due += w.next
	s := c.server
	if dropped, ok := s.authWarning.pass(time.Now()); ok {
		s.log.Warn("client gave a wrong user or password", "client", c.origin.address(), "listener", c.origin.listener, "suppressed", dropped)
	}
}

// serve waits for as long as the wrong passwords cost, after their replies: a connection that guesses gets slower with each guess.
func (w *wrongPasswords) serve(c *conn) error {
	if w.due == 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	timer := time.NewTimer(w.due)
	defer timer.Stop()
	w.due = 0
	select {
	case <-timer.C:
	case <-c.server.connections.closed:
	case <-c.unsettled.waits.Done(): // the connection is cut
	}
	c.now = time.Time{}
	return nil
}
