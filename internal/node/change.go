package node

import (
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol"
)

// Settings is what CONFIG GET shows: the table of settings, and what a node like this always answers.
func (n *Node) Settings() []protocol.Setting {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := slices.Clone(facts)
	for _, s := range settings {
		all = append(all, protocol.Setting{Name: s.name, Value: s.get(&n.config)})
	}
	slices.SortFunc(all, func(a, b protocol.Setting) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// ChangeSettings does CONFIG SET: all changes, or none and a *protocol.SettingError.
func (n *Node) ChangeSettings(changes []protocol.Setting) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := n.config
	seen := map[string]bool{}
	for _, change := range changes {
		fail := func(reason string) error { return &protocol.SettingError{Name: change.Name, Reason: reason} }
		if seen[change.Name] {
			return fail("duplicate parameter")
		}
		seen[change.Name] = true
		if slices.ContainsFunc(facts, func(f protocol.Setting) bool { return f.Name == change.Name }) {
			return fail("can't set immutable config")
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == change.Name })
		switch {
		case i < 0:
			return fail("")
		case !settings[i].live:
			return fail("can't set immutable config")
		}
		if err := settings[i].set(&changed, change.Value); err != nil {
			return fail("argument " + err.Error())
		}
	}
	n.config = changed
	n.server.Reconfigure(changed.Server)
	n.level.Set(changed.LogLevel)
	return nil
}

// Shutdown asks whoever runs the node to Close it.
func (n *Node) Shutdown(how protocol.Shutdown) {
	n.shutdown.Do(func() {
		n.how = how
		close(n.asked)
	})
}

// ShutdownAsked is closed when a client has asked for a shutdown.
func (n *Node) ShutdownAsked() <-chan struct{} { return n.asked }
