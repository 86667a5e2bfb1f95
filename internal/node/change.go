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
	if err := change(&changed, changes); err != nil {
		return err
	}
	for _, c := range changes {
		n.layers.own[c.Name] = c.Value
	}
	n.use(changed)
	return nil
}

// use makes a configuration the node's. The mutex is held.
func (n *Node) use(changed Config) {
	n.config = changed
	n.server.Reconfigure(changed.Server)
	n.level.Set(changed.LogLevel)
}

// change makes changes, or returns a *protocol.SettingError.
func change(c *Config, changes []protocol.Setting) error {
	seen := map[string]bool{}
	for _, change := range changes {
		fail := func(reason string) error { return &protocol.SettingError{Name: change.Name, Reason: reason} }
		if seen[change.Name] {
			return fail("duplicate parameter")
		}
		seen[change.Name] = true
		s, err := changeable(change.Name)
		if err != nil {
			return err
		}
		if err := s.set(c, change.Value); err != nil {
			return fail("argument " + err.Error())
		}
	}
	return nil
}

// changeable returns the row of a setting that may change while the node runs, or a *protocol.SettingError.
func changeable(name string) (setting, error) {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
	switch {
	case i >= 0 && settings[i].live:
		return settings[i], nil
	case i >= 0, slices.ContainsFunc(facts, func(f protocol.Setting) bool { return f.Name == name }):
		return setting{}, &protocol.SettingError{Name: name, Reason: "can't set immutable config"}
	}
	return setting{}, &protocol.SettingError{Name: name}
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
