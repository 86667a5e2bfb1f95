package protocol

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/shard"
)

// The keys of gossip are for operators, and no key is ever in a log or in an error.
func TestClusterGossipKey(t *testing.T) {
	t.Parallel()
	const key = "000102030405060708090a0b0c0d0e0f"
	s := startOn(t, Config{SlowlogSlowerThan: 1}, 16, func(*shard.Store) {})
	s.follow(t, threeNodes())
	log := new(lockedBuffer)
	s.logs.to(log)
	keys := &fakeKeys{have: []string{"0123456789abcdef", "fedcba9876543210"}}
	s.view.Store(&fakeCluster{keys: keys})
	c := s.dial(t)
	c.want(`[["0123456789abcdef" "fedcba9876543210"] "kept"]`, "CLUSTER", "GOSSIPKEY", "LIST")
	c.want("+OK", "CLUSTER", "GOSSIPKEY", "ADD", key)
	c.want("+OK", "CLUSTER", "GOSSIPKEY", "use", "fedcba9876543210")
	c.want("+OK", "CLUSTER", "GOSSIPKEY", "REMOVE", "0123456789abcdef")
	c.want("-ERR unknown subcommand of CLUSTER GOSSIPKEY. Try CLUSTER HELP.", "CLUSTER", "GOSSIPKEY", key)
	c.want("-ERR wrong number of arguments for 'cluster|gossipkey' command", "CLUSTER", "GOSSIPKEY", "ADD", key, key)
	c.want("-ERR wrong number of arguments for 'cluster|gossipkey' command", "CLUSTER", "GOSSIPKEY", "USE")
	if want := []string{"add " + key, "use fedcba9876543210", "remove 0123456789abcdef"}; !slices.Equal(keys.got, want) {
		t.Errorf("%q", keys.got)
	}
	text := log.String() + c.do("SLOWLOG", "GET", "-1")
	if strings.Contains(text, key) {
		t.Errorf("the key is in the log:\n%s", text)
	}
	for _, want := range []string{"GOSSIPKEY ADD (redacted)", "GOSSIPKEY use fedcba9876543210", "GOSSIPKEY (redacted)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log has no %q:\n%s", want, text)
		}
	}
}

func TestPrivateConnections(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{"127.0.0.1": true, "127.9.8.7": true, "::1": true, "10.0.0.1": false, "192.168.1.1": false, "fe80::1": false} {
		if o := (&origin{remote: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}}); o.private() != want {
			t.Errorf("%s: %v", address, o.private())
		}
	}
	if !(&origin{remote: &net.UnixAddr{Name: "x"}}).private() || (&origin{remote: &net.IPAddr{}}).private() {
		t.Error("other addresses")
	}
}
