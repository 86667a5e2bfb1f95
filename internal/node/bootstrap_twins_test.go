package node

import (
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// fails waits until a member's process has ended with an error, and checks that its last log line contains all parts.
func (m *member) fails(parts ...string) {
	m.t.Helper()
	eventually(m.t, m.name+" ends", []*member{m}, func() string {
		if !m.hasExited() {
			return "it runs"
		}
		return ""
	})
	if code := m.cmd.ProcessState.ExitCode(); code != exitFailure {
		m.t.Errorf("%s ended with %d:\n%s", m.name, code, m.logged())
	}
	if text := lacks(m.logged(), parts...); text != "" {
		m.t.Errorf("%s ended with another error: %s", m.name, text)
	}
	m.t.Logf("%s: %s", m.name, lastLine(m.logged()))
}

// Of two nodes with one folder, the second one exits.
func TestBootstrapOfOneFolderTwice(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3", "n1")
	twin := all[3]
	all, twin.folder = all[:3], all[0].folder
	startAll(all)
	eventually(t, "the first uses its folder", all, func() string { return lacks(all[0].logged(), "reachable by other nodes") })
	twin.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
	twin.fails("ndring cannot start", "another process uses "+all[0].folder)
	whole(t, all...)
	serves(t, all...)
}

// Of two nodes with one name, the one started later exits, with or without an existing cluster.
func TestBootstrapOfOneNodeTwice(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	for name, early := range map[string]bool{"at once": true, "in a cluster": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := gather(t, "n1", "n2", "n3", "n1")
			twin := all[3]
			all = all[:3]
			if early {
				all[0].start("--join", seedsOf(all...), "--bootstrap-expect", "3")
				eventually(t, "the first runs", all, func() string { return lacks(all[0].logged(), "reachable by other nodes") })
				twin.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
				for _, m := range all[1:] {
					m.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
				}
			} else {
				startAll(all)
				whole(t, all...)
				serves(t, all...)
				twin.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
			}
			twin.fails("ndring cannot start", "n1 (", "is running at")
			whole(t, all...)
			serves(t, all...)
		})
	}
}
