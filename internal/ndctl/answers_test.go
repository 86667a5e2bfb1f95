package ndctl

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidwall/redcon"
)

// oneNode is the topology of a cluster of one node, which announces no address.
const oneNode = `{"cluster":"c1","self":"aa","leader":"aa","quorum":true,"voters":["aa"],"nodes":[{"id":"aa","name":"n1","up":true}],"shards":[{"epoch":1,"primary":"aa"}]}`

// twoNodes is the topology of a cluster in which n1 was asked and n2 has an address.
func twoNodes(addr, shards string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf(`{"cluster":"c1","self":"aa","leader":"aa","quorum":true,"voters":["aa","bb","cc"],"nodes":[{"id":"aa","name":"n1","up":true},
		{"id":"bb","name":"n2","host":%q,"port":%s,"up":true}],"shards":[%s]}`, host, port, shards)
}

// SHARDS counts the shards that a node serves, not those that are assigned to it.
func TestNodesCountServedShards(t *testing.T) {
	t.Parallel()
	info := func(keys int) string { return fmt.Sprintf("ndring_version:1\r\ndb0:keys=%d,expires=0\r\n", keys) }
	n2 := fakeServer(t, func([]string) any { return info(5) })
	shards := `{"primary":"aa","assigned":["bb"]},{"primary":"aa","assigned":["bb"]},{"primary":"aa","assigned":["aa"]},{"primary":"bb","assigned":["aa"]}`
	addr := fakeServer(t, func(args []string) any {
		if len(args) > 1 && args[1] == "TOPOLOGY" {
			return twoNodes(n2, shards)
		}
		return info(7)
	})
	r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "nodes")
	if got := blanks.ReplaceAllString(r.out, " "); r.code != 0 || !matches(got, " up leader 3 0 2 7 ", " up voter 1 0 2 5 ") {
		t.Errorf("%+v", r)
	}
}

// Keys and bytes of a slot are counted once, on the node that serves it.
func TestSlotsCountKeysOnce(t *testing.T) {
	t.Parallel()
	row := func(slot, keys, bytes redcon.SimpleInt) []any {
		return []any{slot, []any{"key-count", keys, "memory-bytes", bytes}}
	}
	n2 := fakeServer(t, func([]string) any {
		return []any{row(0, 1000, 1000), row(8192, 5, 500), row(16383, 6, 600)} // slot 0 has moved in the meantime
	})
	addr := fakeServer(t, func(args []string) any {
		if args[1] == "TOPOLOGY" {
			return twoNodes(n2, `{"primary":"aa"},{"primary":"aa"},{"primary":"bb"},{"primary":"bb"}`)
		}
		return []any{row(0, 3, 300), row(8191, 4, 100)}
	})
	r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "slots")
	if got := blanks.ReplaceAllString(r.out, " "); r.code != 0 || got != "SLOTS COUNT NODE KEYS MEMORY\n0-8191 8192 n1 7 400 B\n8192-16383 8192 n2 11 1.1 KiB\n" {
		t.Errorf("%+v", r)
	}
}

// A missing password or permission has its own exit code, whichever node refuses and whatever else
// fails.
func TestExitCodeOfMissingRights(t *testing.T) {
	t.Parallel()
	denied := fakeServer(t, func([]string) any { return errText("NOAUTH Authentication required.") })
	other := fakeServer(t, func(args []string) any {
		if strings.EqualFold(args[0], "info") {
			return "redis_version:7.0.0\r\n"
		}
		return errText("ERR unknown command")
	})
	addr := fakeServer(t, func(args []string) any {
		switch line := strings.ToUpper(strings.Join(args, " ")); {
		case line == "CLUSTER TOPOLOGY":
			return twoNodes(denied, `{"primary":"bb","in_sync":["bb"]}`)
		case strings.HasPrefix(line, "CLUSTER MOVES "), strings.HasPrefix(line, "CLUSTER REBALANCE"), args[0] == "MEET", strings.HasPrefix(line, "CLUSTER MEET"), strings.HasPrefix(line, "CLUSTER FORGET"), strings.HasPrefix(line, "CLUSTER CONFIG"):
			return errText("NOPERM this user has no permissions to run the command")
		case line == "CLUSTER MOVES":
			return "{}"
		case strings.HasPrefix(line, "SCAN"):
			return []any{"0", []any{}}
		case strings.HasPrefix(line, "SLOWLOG"), strings.HasPrefix(line, "CLUSTER SLOT-STATS"), strings.HasPrefix(line, "CONFIG GET"):
			return []any{}
		}
		return "db0:keys=1\r\n"
	})
	npy := file(t, npyOf(3))
	for _, tc := range []struct {
		args string
		code int
	}{
		{"nodes", 4}, {"slots", 4}, {"raft status", 4}, {"top --interval 5ms", 4}, {"slowlog", 4}, {"bigkeys", 4}, {"config get timeout", 4}, {"config set timeout 5 --node n2", 4},
		{"config set timeout 5 --cluster", 4}, {"config reset timeout --cluster", 4}, {"config get * --cluster", 4}, {"get k -o -", 4}, {"put k " + npy, 4}, {"leave n2 --yes", 4}, {"moves pause", 4}, {"rebalance", 4},
		{"join 127.0.0.1:7946", 4}, {"status", 1},
		{"nodes --addr " + denied, 4}, {"nodes --addr 127.0.0.1:1 --addr " + denied, 4}, {"nodes --addr " + denied + " --addr 127.0.0.1:1", 4},
		{"nodes --addr " + denied + " --addr " + other, 4}, {"nodes --addr " + other + " --addr " + denied, 4},
		{"nodes --addr " + other, 1}, {"nodes --addr 127.0.0.1:1", 3},
	} {
		if r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", strings.Fields(tc.args)...); r.code != tc.code {
			t.Errorf("ndctl %s: exit code %d, want %d: %+v", tc.args, r.code, tc.code, r)
		}
	}
}

// `leave --wait` waits until another node has taken over the vote.
func TestLeaveWaitsForTheVote(t *testing.T) {
	t.Parallel()
	leaving := fakeServer(t, func(args []string) any {
		if args[1] == "LEAVE" && len(args) == 2 {
			return "OK"
		}
		if args[1] == "LEAVE" { // it is of an earlier version
			return errText("ERR wrong number of arguments for 'cluster|leave' command")
		}
		return errText("ERR unknown command")
	})
	host, port, _ := net.SplitHostPort(leaving)
	for _, tc := range []struct {
		voters string
		code   int
	}{
		{`"aa","bb"`, 1},
		{`"aa"`, 0},
	} {
		var asked atomic.Int32
		other := fakeServer(t, func(args []string) any {
			if args[1] != "TOPOLOGY" {
				return errText("ERR unknown subcommand '" + args[1] + "'. Try CLUSTER HELP.")
			}
			row, voters := "", tc.voters
			if asked.Add(1) == 1 {
				row, voters = fmt.Sprintf(`,{"id":"bb","name":"n2","host":%q,"port":%s,"up":true}`, host, port), `"aa","bb"`
			}
			return fmt.Sprintf(`{"cluster":"c1","self":"aa","leader":"aa","quorum":true,"voters":[%s],"nodes":[{"id":"aa","name":"n1","host":"10.0.0.1","port":7379,"up":true}%s],"shards":[{"primary":"aa"}]}`,
				voters, row)
		})
		limit := patience.String()
		if tc.code != 0 {
			limit = "150ms" // certain to expire
		}
		r := runWith(t, map[string]string{"NDRING_ADDR": other}, "", "leave", "n2", "--yes", "--wait", "--wait-timeout", limit)
		if r.code != tc.code || tc.code != 0 && !matches(r.err, "the others cannot decide without it yet") {
			t.Errorf("voters %s: %+v", tc.voters, r)
		}
	}
}
