package ndctl

import (
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/redcon"
)

// wipedNode is the only live node of a cluster of which shards 1 and 3 have lost their last copies. It records orders.
type wipedNode struct {
	mu     sync.Mutex
	orders []string
}

func (n *wipedNode) answer(args []string) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch line := strings.ToUpper(strings.Join(args, " ")); {
	case line == "CLUSTER TOPOLOGY":
		return `{"cluster":"c1","index":7,"term":3,"self":"aa","leader":"aa","voters":["aa"],"quorum":true,"possible_losses":2,"nodes":[{"id":"aa","name":"n1","up":true},{"id":"bb","name":"n2","up":true}],` +
			`"shards":[{"epoch":1,"primary":"aa","in_sync":["aa"]},{"epoch":2,"waits_for":"begin-empty","waits_on":["bb"]},{"epoch":3,"in_sync":["bb"],"unclean":["bb"],"waits_for":"all","waits_on":["bb"]},` +
			`{"epoch":4,"waits_for":"begin-empty","waits_on":["bb"]}]}`
	case strings.HasPrefix(line, "INFO"):
		return "ndring_version:1\r\n"
	case strings.HasPrefix(line, "CLUSTER BEGIN-EMPTY"):
		n.orders = append(n.orders, line)
		return redcon.SimpleInt(2)
	}
	return errText("ERR unknown command '" + args[0] + "'")
}

func TestBeginEmpty(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args, in string
		code     int
		out, err string
		order    string // empty: none
	}{
		{args: "begin-empty all --yes", out: "2 shards may begin empty\n", order: "CLUSTER BEGIN-EMPTY 1 3"},
		{args: "begin-empty 3 3 --yes", out: "1 shard may begin empty\n", order: "CLUSTER BEGIN-EMPTY 3"},
		{args: "begin-empty 1 --yes --json", out: "{\n  \"shards\": [\n    1\n  ],\n  \"nodes\": [\n    \"n2\"\n  ]\n}\n", order: "CLUSTER BEGIN-EMPTY 1"},
		{args: "begin-empty all", code: exitUsage, err: "Let 2 shards begin empty? Their last copies were on n2: THEIR ARRAYS WILL BE LOST."},
		{args: "begin-empty 0 --yes", code: exitFailure, err: "ndctl: shard 0 does not wait to begin empty: its primary is n1\n"},
		{args: "begin-empty 1 2 --yes", code: exitFailure, err: "ndctl: shard 2 does not wait to begin empty: it has a copy on n2. If that is lost for good: ndctl forget\n"},
		{args: "begin-empty 4 --yes", code: exitFailure, err: "ndctl: there is no shard 4: the cluster has 4 shards\n"},
		{args: "begin-empty -- -1", code: exitFailure, err: "ndctl: there is no shard -1: the cluster has 4 shards\n"},
		{args: "begin-empty x --yes", code: exitUsage, err: `ndctl: "x" is not the number of a shard`},
		{args: "begin-empty", code: exitUsage, err: "begin-empty takes SHARD..., not 0 arguments"},
	} {
		node := &wipedNode{}
		r := runWith(t, map[string]string{"NDRING_ADDR": fakeServer(t, node.answer)}, tc.in, strings.Fields(tc.args)...)
		if r.code != tc.code || r.out != tc.out || !strings.Contains(r.err, tc.err) {
			t.Errorf("ndctl %s: %+v", tc.args, r)
		}
		if got := strings.Join(node.orders, "\n"); got != tc.order {
			t.Errorf("ndctl %s orders %q, want %q", tc.args, got, tc.order)
		}
	}
}

func TestBeginEmptyOfNothing(t *testing.T) {
	t.Parallel()
	env := map[string]string{"NDRING_ADDR": fakeServer(t, scriptedNode)}
	if r := runWith(t, env, "", "begin-empty", "all"); r.code != 0 || r.out != "no shard waits to begin empty\n" {
		t.Errorf("%+v", r)
	}
}

func TestStatusShowsWhatShardsWaitFor(t *testing.T) {
	t.Parallel()
	node := &wipedNode{}
	env := map[string]string{"NDRING_ADDR": fakeServer(t, node.answer)}
	r := runWith(t, env, "", "status")
	for _, want := range []string{
		"3 of 4 shards not served: 1 until n2 is back, since no copy is clean, 2 whose last copy was on n2, which came back with another data folder\n",
		"2 shards may begin empty: with ndctl begin-empty, ", "losses     2 decisions by which a shard may have lost acknowledged writes",
	} {
		if r.code != exitFailure || !strings.Contains(r.out, want) {
			t.Errorf("%q is missing: %+v", want, r)
		}
	}
	r = runWith(t, env, "", "status", "--json")
	for _, want := range []string{`"shards_wiped": 2`, `"shards_unclean": 1`, `"possible_losses": 2`} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing: %+v", want, r)
		}
	}
	if r := runWith(t, env, "", "shards", "--json"); !strings.Contains(r.out, `"waits_for": "begin-empty"`) || !strings.Contains(r.out, `"unclean": [`) {
		t.Errorf("%+v", r)
	}
}
