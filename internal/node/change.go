package node

import (
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol"
)

// Settings is what CONFIG GET shows: the table of settings, with what counts now, and what a node like this always answers.
func (n *Node) Settings() []protocol.Setting {
	config := n.effective()
	all := slices.Clone(facts)
	for _, s := range settings {
		all = append(all, protocol.Setting{Name: s.name, Value: s.get(&config)})
	}
	slices.SortFunc(all, func(a, b protocol.Setting) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// ChangeSettings does CONFIG SET: all changes, or none and a *protocol.SettingError.
func (n *Node) ChangeSettings(changes []protocol.Setting) error {
	n.tuning.mu.Lock()
	defer n.tuning.mu.Unlock()
	values, err := checkChanges(n.tuning.now, changes)
	if err != nil {
		return err
	}
	for _, v := range values {
		n.tuning.own[v.Name] = v.Value
	}
	n.tune()
	return nil
}

// checkChanges returns the changes with their values as CONFIG GET shows them, or a *protocol.SettingError for the first that cannot be made.
func checkChanges(config Config, changes []protocol.Setting) (values []protocol.Setting, err error) {
	seen := map[string]bool{}
	for _, change := range changes {
		fail := func(reason string) error { return &protocol.SettingError{Name: change.Name, Reason: reason} }
		s, reason := changeable(change.Name, seen)
		if s == nil {
			return nil, fail(reason)
		}
		if err := s.set(&config, change.Value); err != nil {
			return nil, fail("argument " + err.Error())
		}
		if reason := config.tooManyClients(); reason != "" {
			return nil, fail(reason)
		}
		values = append(values, protocol.Setting{Name: s.name, Value: s.get(&config)})
	}
	return values, nil
}

// changeable returns a setting that may change while the node runs, or why there is none; an empty reason for no setting at all. It notes the name in seen.
func changeable(name string, seen map[string]bool) (s *setting, reason string) {
	if seen[name] {
		return nil, "duplicate parameter"
	}
	seen[name] = true
	if slices.ContainsFunc(facts, func(f protocol.Setting) bool { return f.Name == name }) {
		return nil, immutable
	}
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
	switch {
	case i < 0:
		return nil, ""
	case !settings[i].live:
		return nil, immutable
	}
	return &settings[i], ""
}

// immutable is what Redis says of a setting that only a new start changes.
const immutable = "can't set immutable config"

// Shutdown asks whoever runs the node to Close it.
func (n *Node) Shutdown(how protocol.Shutdown) {
	n.shutdown.Do(func() {
		n.how = how
		close(n.asked)
	})
}

// ShutdownAsked is closed when a client has asked for a shutdown.
func (n *Node) ShutdownAsked() <-chan struct{} { return n.asked }
