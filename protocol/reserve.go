package protocol

import (
	"sync/atomic"

	"github.com/ndring/ndring/protocol/command"
)

// The last connections of maxclients are for operators: on a full node they can still look, and end other connections.

// reserved is what a connection within the reserve is.
type reserved struct {
	inside atomic.Bool // only commands of operators; connections.mu guards writing
	proven atomic.Bool // it has executed one after it logged in: no newer connection takes its place
}

// reserve returns how many of maxclients are for operators: at most a quarter.
func (c *Config) reserve() int { return min(c.MaxClientsReserve, c.MaxClients/4) }

// forOperators reports whether a connection within the reserve may execute a command: one about the node, its clients or its
// cluster, not about keys.
func forOperators(row *command.Spec) bool {
	switch {
	case row.Flags&(command.Admin|command.NoAuth) != 0:
		return true
	case row.Flags&(command.Write|command.ReadOnly) != 0 || row.Keys.Step != 0:
		return false
	}
	return row.Group == command.GroupConnection || row.Group == command.GroupServer || row.Group == command.GroupCluster
}

// admit returns an error if a connection is within the reserve and may not execute a command. It leaves the reserve if other
// connections have ended. Only an authenticated connection can prove itself.
func (r *reserved) admit(c *conn, row *command.Spec) error {
	switch {
	case !r.inside.Load() || row.Flags&command.NoAuth != 0:
		return nil
	case forOperators(row):
		r.proven.Store(true)
		return nil
	case c.server.connections.promote(c, c.server.config.Load()):
		return nil
	}
	c.quit = true
	c.server.counters.rejected.Add(1)
	return errTooManyClients
}

// promote takes a connection out of the reserve if there is room outside.
func (c *connections) promote(promoted *conn, config *Config) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, is := c.all[promoted]; !is || c.ordinary >= config.MaxClients-config.reserve() {
		return false
	}
	promoted.reserved.inside.Store(false)
	c.ordinary++
	return true
}

// displace ends the oldest connection within the reserve that has not proven itself, and reports whether there was one. c.mu is held.
func (c *connections) displace() bool {
	var oldest *conn
	for other := range c.all {
		if other.reserved.inside.Load() && !other.reserved.proven.Load() && (oldest == nil || other.id < oldest.id) {
			oldest = other
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.all, oldest)
	oldest.cut()
	oldest.server.counters.rejected.Add(1)
	return true
}
