package screen

import (
	"sync"
	"time"
)

const (
	maxMembers = 8192            // named within memberTime
	memberTime = 2 * time.Minute // nodes name a live member every ten seconds, a dead one for half a minute
)

// members holds the member names of recent messages. It limits them because memberlist remembers every
// member that a message names, and package cluster every node.
type members struct {
	mu     sync.Mutex // guards all below
	seen   map[string]time.Time
	pruned time.Time
}

// admit reports whether there is room for the named members, and records them if so.
func (m *members) admit(names []string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string]time.Time{}
	}
	fresh := 0
	for _, name := range names {
		if _, known := m.seen[name]; !known {
			fresh++
		}
	}
	if fresh > 0 && len(m.seen)+fresh > maxMembers {
		m.prune(now)
		if len(m.seen)+fresh > maxMembers {
			return false
		}
	}
	for _, name := range names {
		m.seen[name] = now
	}
	return true
}

// prune drops the members that no message has named lately. It runs at most once a second.
func (m *members) prune(now time.Time) {
	if now.Sub(m.pruned) < time.Second {
		return
	}
	m.pruned = now
	for name, last := range m.seen {
		if now.Sub(last) > memberTime {
			delete(m.seen, name)
		}
	}
}
