package node

import (
	"testing"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/replication"
)

// Package replication learns which version of the bus's protocol a connection has, so that it sends nothing that the other
// end does not know.
func TestReplicationKnowsTheVersionOfAConnection(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 2)
	to := replica.Process{Node: string(nodes[1].id), Incarnation: nodes[1].incarnation}
	for kind := range busKinds {
		conn, err := dialer{nodes[0]}.dial(t.Context(), to, kind)
		if err != nil {
			t.Fatal(err)
		}
		if conn.Version != 1 {
			t.Errorf("a connection of kind %d has version %d", kind, conn.Version)
		}
		conn.Close()
	}
	earlier := replica.Process{Node: to.Node, Incarnation: to.Incarnation - 1}
	if conn, err := (dialer{nodes[0]}).dial(t.Context(), earlier, replication.Append); err == nil {
		conn.Close()
		t.Error("an earlier incarnation is there")
	}
}
