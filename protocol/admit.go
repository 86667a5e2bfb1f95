package protocol

import (
	"fmt"
	"time"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
)

// admit refuses an argument of n bytes, before it is read, if no command could accept it.
func (s *Server) admit(before []resp.Arg, total int, n int64) error {
	if n <= maxPlainArg {
		return nil
	}
	most := int64(maxPlainArg)
	if len(before) > 0 {
		row, err := s.table.LookUp(before)
		switch {
		case err != nil:
			return err
		case !row.ArityMatches(total):
			return row.ArityError()
		case row.Flags&command.Uploads != 0:
			return nil
		case n <= row.MaxArg:
			return nil
		}
		most = max(most, row.MaxArg)
	}
	return fmt.Errorf("%w: an argument of %d bytes, the limit here is %d", resp.ErrTooLarge, n, most)
}

// reserve frees memory for an argument of n bytes that is to be stored. During a pause it waits instead of
// evicting, before the bytes arrive.
func (c *conn) reserve(before []resp.Arg, n int64) error {
	if len(before) > 0 {
		if row, err := c.server.table.LookUp(before); err == nil && row.Flags&command.DenyOOM != 0 {
			c.waitForPause(row)
			return c.server.evictFor(n)
		}
	}
	return nil
}

// waitForPause waits until CLIENT PAUSE lets a command go on. Earlier replies are sent first.
func (c *conn) waitForPause(row *command.Spec) {
	if !c.server.pause.active.Load() || row.Flags&command.Unpaused != 0 {
		return
	}
	writes := row.Flags&command.Write != 0 || row.Name == "exec" && c.tx.writes
	c.server.pause.wait(writes, func() bool {
		if c.flush() != nil {
			return false
		}
		c.publish()
		c.server.tracker.rest(c)
		return true
	})
	c.server.tracker.resume(c)
	c.now = time.Time{}
}
