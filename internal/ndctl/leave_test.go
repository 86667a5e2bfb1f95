package ndctl

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// A node with arrays leaves once others have copies of them, and says so when it is asked afterwards.
func TestLeave(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	if r := runWith(t, c.env(), npyOf(3), "put", "k", "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	_, at, _ := strings.Cut(c.run(c.env(), "where", "k").out, "primary    n")
	full := int(at[0] - '1')
	name := func(i int) string { return fmt.Sprintf("n%d", i+1) }
	gone, left := full, (full+1)%3
	full = (full + 2) % 3
	at2 := map[string]string{"NDRING_ADDR": c.ports[gone]}
	if r := c.run(at2, "leave", "--yes", "--wait", "--wait-timeout", patience.String()); r.code != 0 || !strings.HasSuffix(r.out, name(gone)+" has left the cluster: stop it\n") || r.err != "" {
		t.Errorf("leave --wait: %+v", r)
	}
	for _, args := range []string{
		"status", "nodes", "leave --yes", "leave " + name(left) + " --yes", "join 127.0.0.1:1", "forget " + name(left) + " --yes", "config set timeout 5", "config set timeout 5 --cluster",
		"config get timeout --cluster", "config reset timeout --cluster", "get k -o -", "where k",
	} {
		r := c.run(at2, strings.Fields(args)...)
		if r.code != 1 || r.out != "" || !matches(c.plainly(r.err), "ndctl: @"+name(gone)+": the node has left the cluster: it waits for its shutdown: ") {
			t.Errorf("ndctl %s at a node that has left: %+v", args, r)
		}
	}
	two := map[string]string{"NDRING_ADDR": c.ports[gone] + "," + c.ports[left]}
	c.eventually("the others are healthy", func() string { return c.run(two, "status").out }, func(got string) bool {
		return matches(got, "health     ok", "nodes      2 of 2 up", "16 of 16 served", "keys       1\n")
	})
	if r := c.run(map[string]string{"NDRING_ADDR": c.ports[full]}, "leave", name(left), "--yes"); r.code != 0 || !matches(r.out, name(left)+" is leaving: it hands over its shards. Stop it when ", "healthy\n") {
		t.Errorf("leave: %+v", r)
	}
	c.eventually("one is left", func() string { return c.run(map[string]string{"NDRING_ADDR": c.ports[full]}, "status").out }, func(got string) bool {
		return matches(got, "health     ok", "nodes      1 of 1 up", "16 of 16 served", "keys       1\n")
	})
}

// The only voter of two nodes may be stopped as soon as leave --wait returns: the other one has the
// vote then.
func TestLeaveOfTheOnlyVoter(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	c := startCluster(t, 2)
	var r raftReport
	if got := c.run(c.env(), "raft", "status", "--json"); json.Unmarshal([]byte(got.out), &r) != nil || len(r.Voters) != 1 || r.Leader != r.Voters[0] {
		t.Fatalf("%+v", got)
	}
	voter := int(r.Leader[1] - '1')
	other := map[string]string{"NDRING_ADDR": c.ports[1-voter]}
	if r := c.run(other, "leave", r.Leader, "--yes", "--wait", "--wait-timeout", patience.String()); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	c.stop(voter)
	if r := c.run(other, "config", "set", "timeout", "5", "--cluster"); r.code != 0 || r.out != "the cluster: OK\n" {
		t.Errorf("%+v", r)
	}
}

// When --wait-timeout expires, leave says what keeps the node from leaving.
func TestLeaveTakesLong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what   string
		node   string // the row of n2 at the other node, after CLUSTER LEAVE
		shards string
		keys   string
		err    string
	}{
		{"keys", `"leaving":true`, `{"primary":"bb"},{"primary":"bb"},{"primary":"aa"}`, "keys=7,expires=0",
			"n2 has not left within 150ms: it still serves 2 shards with 7 keys and continues to copy them to other nodes"},
		{"shards", `"leaving":true`, `{"primary":"bb"}`, "", "n2 has not left within 150ms: it still serves 1 shard and continues to hand them over; check ndctl nodes"},
		{"nothing", `"leaving":true`, `{"primary":"aa"}`, "", "n2 has not left within 150ms: it no longer serves any shard, but the others cannot decide without it yet"},
		{"the lead", "", `{"primary":"aa"}`, "", "n2 has not left within 150ms: it no longer serves any shard, but the others cannot decide without it yet"},
		{"a new start", `"incarnation":2`, `{"primary":"aa"}`, "", "n2 has left the cluster and joined it again: it was restarted"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			leaving := fakeServer(t, func(args []string) any {
				if strings.EqualFold(args[0], "info") {
					return "# Keyspace\r\ndb0:" + tc.keys + "\r\n"
				}
				if strings.EqualFold(args[1], "LEAVE") {
					if len(args) == 3 { // it is of an earlier version
						return errText("ERR wrong number of arguments for 'cluster|leave' command")
					}
					return "OK"
				}
				return errText("ERR unknown command")
			})
			host, port, _ := strings.Cut(leaving, ":")
			asked := 0
			other := fakeServer(t, func(args []string) any {
				if args[1] != "TOPOLOGY" {
					return errText("ERR unknown subcommand '" + args[1] + "'. Try CLUSTER HELP.")
				}
				asked++ // commands arrive one after the other, from one client
				state, shards := tc.node, tc.shards
				if asked == 1 {
					state, shards = `"incarnation":1`, `{"primary":"bb"}`
				}
				row := ""
				if state != "" {
					row = fmt.Sprintf(`,{"id":"bb","name":"n2","host":%q,"port":%s,"up":true,%s}`, host, port, state)
				}
				return fmt.Sprintf(`{"cluster":"c1","self":"aa","leader":"bb","quorum":true,"voters":["bb"],"nodes":[{"id":"aa","name":"n1","host":"10.0.0.1","port":7379,"up":true}%s],"shards":[%s]}`,
					row, shards)
			})
			r := runWith(t, map[string]string{"NDRING_ADDR": other}, "", "leave", "n2", "--yes", "--wait", "--wait-timeout", "150ms")
			if r.code != 1 || r.out != "" || !matches(r.err, "ndctl: "+tc.err) {
				t.Errorf("%+v", r)
			}
		})
	}
}
