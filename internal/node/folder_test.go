package node

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// A failed start does not fix the number of shards or the node id of the folder. A start that has served does.
func TestFailedStartFixesNothing(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, busy, _ := net.SplitHostPort(taken.Addr().String())
	dir := filepath.Join(t.TempDir(), "data")
	open := func(name, shards, port string) error {
		t.Helper()
		args := []string{"--dir", dir, "--node-id", name, "--shards", shards, "--port", port, "--http-port", "0", "--bus-port", "0", "--gossip-port", "0"}
		config, err := ParseConfig(args, environment(), "test")
		if err != nil {
			t.Fatal(err)
		}
		n := New(*config, slog.New(slog.DiscardHandler), new(slog.LevelVar))
		ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
		defer cancel()
		if err := n.Open(ctx); err != nil {
			return err
		}
		closeWithin(t, n)
		return nil
	}
	if err := open("first", "64", busy); err == nil || !strings.Contains(err.Error(), "cannot listen for clients") {
		t.Fatalf("on a port in use: %v", err)
	}
	if err := open("second", "32", "0"); err != nil {
		t.Fatalf("after a failed start: %v", err)
	}
	for _, tc := range []struct{ name, shards, want string }{
		{"second", "64", "it has 32 shards, not 64"}, {"first", "32", "the folder belongs to another node"},
	} {
		if err := open(tc.name, tc.shards, "0"); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s with %s shards: %v", tc.name, tc.shards, err)
		}
	}
	if err := open("second", "32", "0"); err != nil {
		t.Error(err)
	}
}
