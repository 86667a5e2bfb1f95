package ndctl

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidwall/redcon"
)

// All nodes have the settings of the cluster until these are reset, including nodes that join later.
func TestClusterSettings(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	do := func(code int, out, said string, args ...string) {
		t.Helper()
		r := c.run(c.env(), args...)
		if r.code != code || c.plainly(r.out) != out || !matches(c.plainly(r.err), said) || said == "" && r.err != "" {
			t.Errorf("ndctl %q: exit code %d, want %d\n%s\n%s", args, r.code, code, r.out, r.err)
		}
	}
	everywhere := func(want string, patterns ...string) {
		t.Helper()
		c.eventually(want, func() string {
			r := c.run(c.env(), append([]string{"config", "get"}, patterns...)...)
			return c.plainly(r.out + r.err)
		}, func(got string) bool {
			return got == "SETTING VALUE NODES\n"+want
		})
	}
	do(0, "the cluster: OK\n", "", "config", "set", "timeout", "70", "MaxClients", "500", "--cluster", "--addr", c.ports[1])
	everywhere("maxclients 500 all\ntimeout 70 all\n", "timeout", "maxclients")
	do(0, "SETTING VALUE\nmaxclients 500\ntimeout 70\n", "", "config", "get", "*", "--cluster")

	// A refused change changes nothing.
	for _, tc := range []struct{ args, said string }{
		{"set timeout 8 maxclients many", "n1 (@n1): ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument "},
		{"set timeout 8 nosuch 1", "n1 (@n1): ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\n"},
		{"set timeout 8 port 1", "argument 'port') - can't set immutable config\n"},
		{"set timeout 8 requirepass hidden", "argument 'requirepass') - the cluster would keep the password in plain text"},
		{"reset timeout nosuch", "ERR Unknown option or number of arguments for CLUSTER CONFIG RESET - 'nosuch'\n"},
	} {
		do(1, "", tc.said, append(strings.Fields("config "+tc.args), "--cluster")...)
	}
	for _, args := range []string{"set timeout 8", "get timeout"} {
		do(2, "", "ndctl: --node and --cluster exclude each other\n", append(strings.Fields("config "+args), "--cluster", "--node", "n2")...)
	}
	everywhere("timeout 70 all\n", "timeout")

	// A node keeps its own value until the cluster sets that setting again.
	do(0, "n2: OK\n", "", "config", "set", "timeout", "9", "--node", "n2")
	do(0, "SETTING VALUE NODES\ntimeout 70 n1,n3\ntimeout 9 n2\n", "", "config", "get", "timeout")
	do(0, "the cluster: OK\n", "", "config", "set", "timeout", "70", "--cluster")
	everywhere("timeout 70 all\n", "timeout")

	c.nodes, c.ports = append(c.nodes, nil), append(c.ports, "")
	c.launch(3, "--timeout", "33")
	c.ready(3)
	do(0, "SETTING VALUE NODES\ntimeout 70 n4\n", "", "config", "get", "timeout", "--node", "n4")
	do(0, "the cluster: OK\n", "", "config", "reset", "timeout", "--cluster", "--addr", c.ports[3])
	everywhere("timeout 0 n1,n2,n3\ntimeout 33 n4\n", "timeout")
	do(0, "SETTING VALUE\nmaxclients 500\n", "", "config", "get", "*", "--cluster")
	checkDeniedByOneNode(t, c)
}

// checkDeniedByOneNode sets another password on one node of the cluster.
func checkDeniedByOneNode(t *testing.T, c *testCluster) {
	if r := c.run(c.env(), "config", "set", "requirepass", "other", "--node", "n2"); r.code != 0 {
		t.Fatal(r.err)
	}
	denied := "ndctl: n2 (@n2): a password is required: set NDRING_PASSWORD"
	for _, tc := range []struct {
		args string
		code int
		out  string
		said string
	}{
		{"nodes", 4, "\n n2 40243476 @n2 denied voter ", denied},
		{"raft status", 4, "\nn2 voter - - - denied -\n", denied},
		{"top --interval 5ms", 4, "\nn2 denied - ", denied},
		{"config get timeout", 4, "timeout 0 n1,n3\n", denied},
		{"status", 1, "- n2 (@n2) refuses to report its state: a password is required", ""},
	} {
		if r := c.run(c.env(), strings.Fields(tc.args)...); r.code != tc.code || !matches(c.plainly(r.out), tc.out) || !matches(c.plainly(r.err), tc.said) {
			t.Errorf("ndctl %s: exit code %d, want %d\n%s\n%s", tc.args, r.code, tc.code, r.out, r.err)
		}
	}
}

// Settings of the cluster: the commands on the wire, and answers that a real cluster does not give
// on demand.
func TestAnswersOfClusterSettings(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex // guards asked and reply
	var asked []string
	reply := any(nil)
	addr := fakeServer(t, func(args []string) any {
		mu.Lock()
		defer mu.Unlock()
		switch line := strings.Join(args, " "); {
		case strings.EqualFold(args[0], "cluster") && args[1] == "TOPOLOGY":
			return `{"cluster":"c1","self":"aa","leader":"aa","quorum":true,"nodes":[{"id":"aa","name":"n1","host":"10.0.0.1","port":7379,"up":true}],"shards":[{"epoch":1,"primary":"aa"}]}`
		default:
			asked = append(asked, line)
			return reply
		}
	})
	for _, tc := range []struct {
		args  string
		reply any
		asked string
		code  int
		out   []string
		err   []string
	}{
		{"config get * --cluster", []any{"maxmemory", "1gb", "save", ""}, "CLUSTER CONFIG GET *", 0, []string{"SETTING    VALUE\nmaxmemory  1gb\nsave\n"}, nil},
		{"config get max* time* --cluster --json", []any{"maxmemory", "1gb"}, "CLUSTER CONFIG GET max* time*", 0, []string{`"name": "maxmemory"`, `"value": "1gb"`, "!nodes"}, nil},
		{"config get max* --cluster", []any{}, "CLUSTER CONFIG GET max*", 0, []string{"no setting of the cluster matches max*\n"}, nil},
		{"config set maxmemory 2gb timeout 5 --cluster", redcon.SimpleString("OK"), "CLUSTER CONFIG SET maxmemory 2gb timeout 5", 0, []string{"the cluster: OK\n"}, nil},
		{"config set maxmemory many --cluster", errText("ERR CONFIG SET failed (possibly related to argument 'maxmemory')"), "CLUSTER CONFIG SET maxmemory many", 1, nil, []string{"ndctl: n1 (10.0.0.1:7379): ERR CONFIG SET failed"}},
		{"config reset maxmemory timeout --cluster", redcon.SimpleString("OK"), "CLUSTER CONFIG RESET maxmemory timeout", 0, []string{"the cluster: OK\n"}, nil},
		{"config reset maxmemory --cluster", errText("NOPERM this user has no permissions"), "CLUSTER CONFIG RESET maxmemory", 4, nil, []string{"n1 (10.0.0.1:7379): the user lacks the permission"}},
		{"config set maxmemory 2gb --cluster", errText("UNCERTAIN the cluster has not decided in time"), "CLUSTER CONFIG SET maxmemory 2gb", 1, nil,
			[]string{"n1 (10.0.0.1:7379): UNCERTAIN, the cluster has not decided in time: the change may have been made, or may still be made; ndctl config get '*' --cluster shows it, and repeating the change does no harm\n"}},
		{"config reset maxmemory --cluster", hangUp, "CLUSTER CONFIG RESET maxmemory", 1, nil, []string{"the node closed the connection: the change may have been made, or may still be made; "}},
	} {
		mu.Lock()
		asked, reply = nil, tc.reply
		mu.Unlock()
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", strings.Fields(tc.args)...)
		mu.Lock()
		if r.code != tc.code || !matches(r.out, tc.out...) || !matches(r.err, tc.err...) || strings.Join(asked, "; ") != tc.asked {
			t.Errorf("ndctl %s: exit code %d, want %d, asked %q\n%s%s", tc.args, r.code, tc.code, asked, r.out, r.err)
		}
		mu.Unlock()
	}
}

// A change waits for an election to end. Without a majority there is no election to wait for.
func TestChangesWaitForALeader(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		quorum, answer string
		code           int
		asked          int32
	}{
		{"true", "ERR the cluster has no leader: a majority of its voters is missing", 0, 3},
		{"true", "ERR n2 (bb) leads the cluster but does not answer: the node cannot be reached", 0, 3},
		{"true", "ERR n2 (bb) leads the cluster, and does not answer: the node is not there", 0, 3}, // an earlier version
		{"false", "ERR the cluster has no leader: a majority of its voters is missing", 1, 1},
		{"true", "ERR refused: something else", 1, 1},
	} {
		var asked atomic.Int32
		addr := fakeServer(t, func(args []string) any {
			if args[1] == "TOPOLOGY" {
				return `{"cluster":"c1","self":"aa","leader":"aa","quorum":` + tc.quorum + `,"nodes":[{"id":"aa","name":"n1","host":"10.0.0.1","port":7379,"up":true}],"shards":[{"primary":"aa"}]}`
			}
			if asked.Add(1) < 3 {
				return errText(tc.answer)
			}
			return "OK"
		})
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "config", "set", "timeout", "5", "--cluster", "--timeout", patience.String())
		if r.code != tc.code || asked.Load() != tc.asked || tc.code != 0 && !strings.Contains(r.err, tc.answer) {
			t.Errorf("quorum %s, %q: asked %d times: %+v", tc.quorum, tc.answer, asked.Load(), r)
		}
	}
}
