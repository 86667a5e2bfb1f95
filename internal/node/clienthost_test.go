package node

import (
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/ndring/ndring/protocol"
)

// hostOf returns the node as package protocol sees it.
func hostOf(n *Node) *clientHost { return &clientHost{n.effective, n.stop, ""} }

func value(n *Node, name string) string {
	for _, s := range hostOf(n).Settings() {
		if s.Name == name {
			return s.Value
		}
	}
	return "(none)"
}

// Every live setting accepts its own text, and every setting has one.
func TestSettingsReadBack(t *testing.T) {
	t.Parallel()
	n := openNode(t, "--listen", "inside=127.0.0.1:0,announce=node1:7379", "--listen", "host=127.0.0.1:0")
	for _, s := range settings {
		if s.get == nil || s.set == nil {
			t.Fatalf("%s is incomplete", s.name)
		}
		before := value(n, s.name)
		err := hostOf(n).ChangeSettings([]protocol.Setting{{Name: s.name, Value: before}})
		if (err == nil) != s.live {
			t.Errorf("%s = %q: %v", s.name, before, err)
		}
		if after := value(n, s.name); after != before {
			t.Errorf("%s was %q and is %q", s.name, before, after)
		}
	}
	if got := value(n, "listen"); got != "inside=127.0.0.1:0,announce=node1:7379 host=127.0.0.1:0" {
		t.Errorf("listen is %q", got)
	}
}

func TestChangeSettings(t *testing.T) {
	t.Parallel()
	n := openNode(t)
	change := func(pairs ...string) error {
		var changes []protocol.Setting
		for i := 0; i < len(pairs); i += 2 {
			changes = append(changes, protocol.Setting{Name: pairs[i], Value: pairs[i+1]})
		}
		return hostOf(n).ChangeSettings(changes)
	}
	if err := change("max-array-bytes", "1kb", "timeout", "5", "log-level", "debug", "client-output-buffer-limit", "normal 8mb 2mb 10",
		"slowlog-log-slower-than", "0", "latency-monitor-threshold", "100", "upload-stall", "7s"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"max-array-bytes": "1024", "timeout": "5", "log-level": "debug", "client-output-buffer-limit": "normal 8388608 2097152 10",
		"slowlog-log-slower-than": "0", "latency-monitor-threshold": "100", "upload-stall": "7s",
	} {
		if got := value(n, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if n.effective.level.Level() != slog.LevelDebug {
		t.Errorf("the log's level is %v", n.effective.level.Level())
	}
	for _, bad := range [][]string{
		{"timeout", "9", "max-array-bytes", "0"}, {"timeout", "9", "nosuch", "1"}, {"timeout", "9", "port", "1"}, {"timeout", "9", "timeout", "9"},
		{"timeout", "9", "save", "60"}, {"save", "60 x"}, {"save", "0 1"}, {"appendfsync", "often"}, {"appendonly", "no"}, {"dir", "x"}, {"disk-reserve", "-1"}, {"timeout", "-1"}, {"timeout", "99999999999999999"}, {"upload-stall", "5"}, {"protected-mode", "maybe"},
		{"client-output-buffer-limit", "normal 1 2"}, {"client-output-buffer-limit", "pubsub 1 2 3"}, {"client-output-buffer-limit", "normal x 2 3"},
		{"client-output-buffer-limit", "normal 1 2 -3"}, {"log-level", "loud"}, {"maxclients", "0"}, {"maxclients", "1.5"},
	} {
		var refused *protocol.SettingError
		if err := change(bad...); !errors.As(err, &refused) {
			t.Errorf("%s: %v", bad, err)
		}
		if got := value(n, "timeout"); got != "5" {
			t.Fatalf("%s: half of it was done, timeout is %s", bad, got)
		}
	}
}

// An explicit zero is a zero, not the default.
func TestZeroSettingsAtTheStart(t *testing.T) {
	t.Parallel()
	n := openNode(t, "--slowlog-log-slower-than", "0")
	c := dialTalker(t, n)
	c.say("PING")
	if got := c.say("SLOWLOG", "LEN"); got != ":1" {
		t.Errorf("SLOWLOG LEN is %s", got)
	}
}

func dialTalker(t *testing.T, n *Node) *talker {
	t.Helper()
	nc, err := net.DialTimeout("tcp", n.ClientAddrs()[0].String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return newTalker(nc)
}
