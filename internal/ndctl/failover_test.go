package ndctl

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/view"
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

func TestFailoverPlan(t *testing.T) {
	t.Parallel()
	n := &movingNode{}
	env := n.env(t)
	const both = "SHARD  SLOTS        PRIMARY  AFTERWARDS\n    2  8192-12287   n2       n1\n    3  12288-16383  n2       n1\n\n2 shards get n1 as the primary\n"
	for _, tc := range []struct {
		args string
		code int
		out  string
	}{
		{"failover --plan", 0, both},
		{"failover --plan 3", 0, "SHARD  SLOTS        PRIMARY  AFTERWARDS\n    3  12288-16383  n2       n1\n\n1 shard gets n1 as the primary\n"},
		{"failover --plan 0", 1, "0 shards get n1 as the primary\nproblem: shard 0: n1 is its primary already\n"},
		{"failover --plan 0 --node n3", 1, "0 shards get n3 as the primary\nproblem: shard 0: n3 has no clean in-sync copy of it\n"},
		{"failover --plan 2 3 4", 1, both + "problem: there is no shard 4: the cluster has 4 shards\n"},
		{"failover --plan --node n3", 1, "0 shards get n3 as the primary\nproblem: n3 has no clean in-sync copy of a shard of another primary\n"},
	} {
		if r := runWith(t, env, "", strings.Fields(tc.args)...); r.code != tc.code || r.out != tc.out || n.ordered() != "" {
			t.Errorf("%s orders %q: %+v", tc.args, n.ordered(), r)
		}
	}
	if r := runWith(t, env, "", "failover", "--plan", "--takeover"); r.code != exitUsage || !matches(r.err, "--plan and --takeover exclude each other") {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, env, "", "failover", "--plan", "--json"); r.code != 0 || !matches(r.out, `"started": false`, `"shard": 2`, `"primary": "n2"`) {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, env, "", "failover", "3", "--json"); r.code != 0 || !matches(r.out, `"started": true`, `"shard": 3`) || n.ordered() != "CLUSTER FAILOVER SHARD 3" {
		t.Errorf("%q %+v", n.ordered(), r)
	}
	if r := runWith(t, env, "", "failover", "3"); r.code != 0 || r.out != "n1 serves the shards\n" {
		t.Errorf("%+v", r)
	}
}

func TestWhyNoFailover(t *testing.T) {
	t.Parallel()
	m := &member{Node: &view.Node{ID: "aa"}}
	for want, shard := range map[string]view.Shard{
		"":                                 row("bb", "aa"),
		"is its primary already":           row("aa", "bb"),
		"has no clean in-sync copy of it":  {Primary: "bb", InSync: ids("bb", "aa"), Unclean: ids("aa")},
		"has no clean in-sync copy of it ": {Primary: "bb", InSync: ids("bb"), Learners: ids("aa")},
	} {
		if got := whyNoFailover(&shard, m); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %q", shard, got)
		}
	}
}
