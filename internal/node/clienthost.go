package node

import (
	"slices"
	"strings"
	"sync"

	"github.com/ndring/ndring/protocol"
)

// clientHost is the node as package protocol sees it. It implements protocol.Host.
type clientHost struct {
	effective *effectiveConfig
	stop      *stopRequest
	users     aclFile
}

// ReadUsers implements protocol.Host.
func (h *clientHost) ReadUsers() (name, text string, err error) { return h.users.read() }

// WriteUsers implements protocol.Host.
func (h *clientHost) WriteUsers(text string) error { return h.users.write(text) }

// Settings implements protocol.Host: the settings table with the values in effect, and facts.
func (h *clientHost) Settings() []protocol.Setting {
	config := h.effective.config()
	all := slices.Clone(facts)
	for _, s := range settings {
		all = append(all, protocol.Setting{Name: s.name, Value: s.shown(&config)})
	}
	slices.SortFunc(all, func(a, b protocol.Setting) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// ChangeSettings implements protocol.Host.
func (h *clientHost) ChangeSettings(changes []protocol.Setting) error {
	return h.effective.change(changes)
}

// Shutdown implements protocol.Host.
func (h *clientHost) Shutdown(how protocol.Shutdown) { h.stop.request(how) }

// stopRequest passes a client's SHUTDOWN, or that the node must stop, on to the code that closes the
// node.
type stopRequest struct {
	once    sync.Once
	done    chan struct{}     // closed by the first request
	how     protocol.Shutdown // of that request; set before done is closed
	failure error             // why the node must stop; nil for a SHUTDOWN. Set before done is closed
}

func newStopRequest() *stopRequest { return &stopRequest{done: make(chan struct{})} }

func (r *stopRequest) request(how protocol.Shutdown) {
	r.once.Do(func() {
		r.how = how
		close(r.done)
	})
}

// fail asks for a stop because of an error, with which the process ends.
func (r *stopRequest) fail(err error) {
	r.once.Do(func() {
		r.how, r.failure = protocol.ShutdownDefault, err
		close(r.done)
	})
}

// requested returns what the first request asked for; ShutdownDefault if there was none.
func (r *stopRequest) requested() protocol.Shutdown {
	select {
	case <-r.done:
		return r.how
	default:
		return protocol.ShutdownDefault
	}
}

// err returns why the node must stop; nil while it need not, or after a SHUTDOWN.
func (r *stopRequest) err() error {
	select {
	case <-r.done:
		return r.failure
	default:
		return nil
	}
}

// checkChanges returns the changes with their values as CONFIG GET shows them, or a *protocol.SettingError for the first
// that cannot be made.
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

// changeable returns a setting that may change while the node runs, or nil and the reason; the reason is empty if
// there is no such setting. It adds the name to seen.
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

// immutable is Redis' text for a setting that takes a restart to change.
const immutable = "can't set immutable config"
