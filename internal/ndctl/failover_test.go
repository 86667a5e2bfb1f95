package ndctl

import (
	"reflect"
	"testing"
)

// A node gets what it has copies of, and then has nothing more to get.
func TestFailover(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.eventually("n2 can get shards", func() string { return c.run(c.env(), "failover", "--node", "n2").out }, func(got string) bool {
		return got == "n2 serves the shards\n"
	})
	c.eventually("all copies are in sync", func() string { return c.run(c.env(), "status").out }, func(got string) bool {
		return matches(got, "health     ok", "16 of 16 served")
	})
	r := c.run(c.env(), "failover", "--node", "n3")
	if r.code != 0 || r.out != "n3 serves the shards\n" {
		t.Fatalf("%+v", r)
	}
	if r := c.run(c.env(), "failover", "--node", "n3"); r.code != 1 || !matches(r.err, "You should send CLUSTER FAILOVER to a replica") {
		t.Errorf("again: %+v", r)
	}
}

func TestFailoverRequests(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		shards   []string
		takeover bool
		want     [][]any
	}{
		{nil, false, [][]any{{"CLUSTER", "FAILOVER"}}},
		{nil, true, [][]any{{"CLUSTER", "FAILOVER", "TAKEOVER"}}},
		{[]string{"3", "5"}, true, [][]any{{"CLUSTER", "FAILOVER", "SHARD", "3", "TAKEOVER"}, {"CLUSTER", "FAILOVER", "SHARD", "5", "TAKEOVER"}}},
	} {
		if got := failoverRequests(tc.shards, tc.takeover); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v", got)
		}
	}
}
