package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// configured waits until a setting has a value on all nodes.
func configured(t *testing.T, all []*member, name, want string) {
	t.Helper()
	eventually(t, name+" is "+want, all, func() string {
		for _, m := range all {
			if got := m.says("CONFIG", "GET", name); got != fmt.Sprintf("[%s %s]", name, want) {
				return m.name + ": " + got
			}
		}
		return ""
	})
}

// What is set for the cluster is on every node, also after all of them were started anew, and on one that joins.
func TestSettingsOfTheCluster(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all, "--timeout", "7")
	whole(t, all...)
	ok := func(m *member, args ...any) {
		t.Helper()
		if got := m.says(args...); got != "OK" {
			t.Fatalf("%s answers %v: %s", m.name, args, got)
		}
	}
	ok(all[0], "CLUSTER", "CONFIG", "SET", "Timeout", "30", "max-array-bytes", "1mb")
	configured(t, all, "timeout", "30")
	configured(t, all, "max-array-bytes", "1048576")
	if got := all[1].says("CLUSTER", "CONFIG", "GET", "*"); got != "[max-array-bytes 1mb timeout 30]" {
		t.Errorf("the cluster has set %s", got)
	}

	// A node's own goes before the cluster's, until the cluster sets it again.
	ok(all[1], "CONFIG", "SET", "timeout", "5")
	ok(all[0], "CLUSTER", "CONFIG", "SET", "maxclients", "500")
	configured(t, all, "maxclients", "500")
	configured(t, all[1:2], "timeout", "5")
	ok(all[2], "CLUSTER", "CONFIG", "SET", "timeout", "30")
	configured(t, all, "timeout", "30")

	// What cannot be had changes nothing.
	for _, tc := range []struct{ args, want string }{
		{"SET port 1", "can't set immutable config"},
		{"SET databases 2", "can't set immutable config"},
		{"SET no-such-thing 1", "Unknown option"},
		{"SET timeout 9 maxclients none", "argument"},
		{"SET timeout 9 timeout 10", "duplicate parameter"},
		{"SET timeout 9 maxclients", "syntax error"},
		{"SET requirepass secret", "plain text"},
		{"RESET no-such-thing", "Unknown option"},
		{"FROB timeout", "syntax error"},
	} {
		args := []any{"CLUSTER", "CONFIG"}
		for _, arg := range strings.Fields(tc.args) {
			args = append(args, arg)
		}
		if got := all[0].says(args...); !strings.Contains(got, tc.want) {
			t.Errorf("CLUSTER CONFIG %s: %s, want %s", tc.args, got, tc.want)
		}
	}
	configured(t, all, "timeout", "30")

	for _, m := range all {
		m.stop()
	}
	startAll(all, "--timeout", "7")
	whole(t, all...)
	configured(t, all, "timeout", "30")

	late := newMember(t, "n4")
	late.start("--join", seedsOf(all...), "--timeout", "8")
	all = append(all, late)
	whole(t, all...)
	configured(t, all, "timeout", "30")
	if info := late.info(); info["cluster_settings"] != "3" || info["cluster_settings_unapplied"] != "" {
		t.Errorf("CLUSTER INFO: %s settings, unapplied %q", info["cluster_settings"], info["cluster_settings_unapplied"])
	}

	ok(late, "CLUSTER", "CONFIG", "RESET", "timeout", "slowlog-max-len")
	configured(t, all[:3], "timeout", "7")
	configured(t, all[3:], "timeout", "8")
}

// Many who set the same thing at once leave all nodes with the same.
func TestSettingsOfTheClusterAtOnce(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3)
	var group sync.WaitGroup
	for i, n := range nodes {
		group.Go(func() {
			c := redis.NewClient(&redis.Options{Addr: n.ClientAddrs()[0].String()})
			defer c.Close()
			for k := range 10 {
				if err := c.Do(context.Background(), "CLUSTER", "CONFIG", "SET", "timeout", 100*(i+1)+k).Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	newest := nodes[0].cluster.Topology() // whoever set something has it in its own
	for _, n := range nodes {
		if topo := n.cluster.Topology(); topo.Index > newest.Index {
			newest = topo
		}
	}
	want := newest.Settings["timeout"].Value
	for _, n := range nodes {
		if err := n.InStep(t.Context(), newest.Index); err != nil {
			t.Error(err)
		}
		if got := value(n, "timeout"); got != want {
			t.Errorf("%s has timeout %s, the cluster %s", n.config.NodeID, got, want)
		}
	}
}
