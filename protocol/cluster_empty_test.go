package protocol

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

func TestBeginEmpty(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	var mu sync.Mutex // guards asked, refuse and calls: the command runs in the connection's goroutine
	var asked []topology.ShardID
	var refuse error
	calls := 0
	locked := func(do func()) {
		mu.Lock()
		defer mu.Unlock()
		do()
	}
	s.view.Store(&fakeCluster{empty: func(_ context.Context, shards []topology.ShardID) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		calls++
		asked = shards
		return 7, refuse
	}})
	for _, tc := range []struct {
		args []string
		want string
		ask  string
	}{
		{[]string{"ALL"}, ":7", "[]"},
		{[]string{"all"}, ":7", "[]"},
		{[]string{"3"}, ":7", "[3]"},
		{[]string{"3", "0", "12"}, ":7", "[3 0 12]"},
	} {
		c.want(tc.want, append([]string{"CLUSTER", "BEGIN-EMPTY"}, tc.args...)...)
		locked(func() {
			if got := fmt.Sprint(asked); got != tc.ask {
				t.Errorf("%v asks for %s", tc.args, got)
			}
		})
	}
	locked(func() { calls = 0 })
	c.want(`-ERR wrong number of arguments for 'cluster|begin-empty' command`, "CLUSTER", "BEGIN-EMPTY")
	for _, bad := range []string{"x", "-1", "16384", "ALL"} {
		c.want(`-ERR Invalid shard number: `+bad, "CLUSTER", "BEGIN-EMPTY", "3", bad)
	}
	c.want(`+OK`, "MULTI")
	c.want(`-ERR Command not allowed inside a transaction`, "CLUSTER", "BEGIN-EMPTY", "ALL")
	c.want(`+OK`, "DISCARD")
	locked(func() {
		if calls != 0 {
			t.Error("an invalid command has an effect")
		}
		refuse = errors.New("shard 3: it does not wait to begin empty")
	})
	c.want(`-ERR shard 3: it does not wait to begin empty`, "CLUSTER", "BEGIN-EMPTY", "3")
	locked(func() { refuse = fmt.Errorf("%w: no answer", ErrUncertain) })
	if got := c.do("CLUSTER", "BEGIN-EMPTY", "3"); !strings.HasPrefix(got, "-UNCERTAIN ") {
		t.Error(got)
	}
}

func TestInfoShowsWhatShardsWaitFor(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	topo := threeNodes()
	topo.PossibleLosses = 9
	topo.Shards[0] = topology.Shard{Epoch: 12, ISR: []topology.NodeID{otherID}, Unclean: []topology.NodeID{otherID}}
	topo.Shards[1] = topology.Shard{Epoch: 12, Wiped: []topology.NodeID{otherID}}
	s.follow(t, topo)
	info := c.do("CLUSTER", "INFO")
	for _, want := range []string{"cluster_shards_waiting:2\r", "cluster_shards_wiped:1\r", "cluster_shards_unclean:1\r", "cluster_possible_losses:9\r"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is missing in %s", want, info)
		}
	}
	if info := c.do("INFO", "replication"); !strings.Contains(info, "possible_losses:9\r") {
		t.Error(info)
	}
	if text := c.do("CLUSTER", "TOPOLOGY"); !strings.Contains(text, `"waits_for":"begin-empty","waits_on":["`+otherID+`"]`) || !strings.Contains(text, `"possible_losses":9`) {
		t.Error(text)
	}
}
