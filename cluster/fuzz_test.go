package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// FuzzMeta reads what gossip tells about a node.
func FuzzMeta(f *testing.F) {
	good := meta{node: topology.NodeID(strings.Repeat("ab", 20)), store: strings.Repeat("cd", 16), incarnation: 7, busPort: 9, expect: 3, hasData: true, format: 2, name: "n"}
	f.Add(good.encode())
	f.Add([]byte{metaVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		if again, err := decodeMeta(m.encode()); err != nil || again != m {
			t.Errorf("%+v written and read again: %+v, %v", m, again, err)
		}
		if got := movesIn(memberName(m.node, m.incarnation, 3)); got != 3 {
			t.Errorf("%d moves", got)
		}
	})
}

// FuzzRequests sends requests of any content to a node: as a guest, and as a member. None panics, and the topology stays valid.
func FuzzRequests(f *testing.F) {
	request, err := json.Marshal(joinRequest{Node: topology.Node{ID: topology.NodeID(strings.Repeat("ab", 20)), Store: strings.Repeat("cd", 16)}, Shards: 16})
	if err != nil {
		f.Fatal(err)
	}
	ask, err := json.Marshal(claimRequest{Question: true, Shards: 16, Replicas: 1})
	if err != nil {
		f.Fatal(err)
	}
	change := []byte(`{"ops":[{"kind":"config-set","name":"timeout","value":"5"}]}`)
	for _, m := range Methods {
		for _, payload := range [][]byte{nil, request, ask, change, []byte("[0,1]"), make([]byte, 8), encodeReports([]topology.Report{{Shard: 1, Epoch: 2}}), bytes.Repeat([]byte("["), 1000)} {
			f.Add(uint8(m), payload, true)
			f.Add(uint8(m), payload, false)
		}
	}
	n := newNetwork().start(f, testConfig(f, "target", 0))
	if err := n.Ready(f.Context()); err != nil {
		f.Fatal(err)
	}
	member := Caller{Node: n.self.ID, Store: n.self.Store, Incarnation: n.self.Incarnation, Cluster: n.ID()}
	f.Fuzz(func(t *testing.T, method uint8, payload []byte, guest bool) {
		from := member
		if guest {
			from = Caller{Node: topology.NodeID(strings.Repeat("ab", 20)), Store: strings.Repeat("cd", 16), Incarnation: 1}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, _ = n.ServeCall(ctx, from, Method(method), payload)
		if err := n.Topology().Check(); err != nil {
			t.Fatalf("the topology is no longer valid: %v", err)
		}
	})
}
