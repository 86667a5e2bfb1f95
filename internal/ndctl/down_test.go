package ndctl

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/node"
	"github.com/ndring/ndring/internal/slowtest"
)

// Passwords: missing, wrong, from the environment, from a file.
func TestPasswords(t *testing.T) {
	t.Parallel()
	c := startClusterWith(t, []string{"NDRING_PASSWORD=right"}, 1, "--requirepass", "right")
	right, wrong := file(t, "right\n"), file(t, "wrong")
	for _, tc := range []struct {
		env  string
		args string
		code int
		err  string
	}{
		{"", "status", 4, "a password is required: set NDRING_PASSWORD, or give --password-file FILE"},
		{"", "get k -o -", 4, "a password is required"},
		{"NDRING_PASSWORD=wrong", "status", 4, "wrong user or password"},
		{"NDRING_PASSWORD=wrong", "nodes --json", 4, "wrong user or password"},
		{"NDRING_PASSWORD=right", "status", 0, ""},
		{"NDRING_REQUIREPASS=right", "status", 0, ""},
		{"NDRING_PASSWORD=wrong", "status --password-file " + right, 0, ""},
		{"NDRING_PASSWORD=right", "status --password-file " + wrong, 4, "wrong user or password"},
		{"NDRING_PASSWORD=right", "status --user stranger", 4, "wrong user or password"},
		{"NDRING_PASSWORD=right", "status --user default", 0, ""},
		{"", "status --addr 127.0.0.1:1 --addr " + c.ports[0], 4, "127.0.0.1:1: connection refused\n  " + c.ports[0] + ": a password is required"},
	} {
		r := c.run(c.env(tc.env), strings.Fields(tc.args)...)
		if r.code != tc.code || !matches(r.err, tc.err) || tc.err == "" && r.err != "" || tc.code != 0 && r.out != "" {
			t.Errorf("%s ndctl %s: exit code %d, want %d\n%s%s", tc.env, tc.args, r.code, tc.code, r.out, r.err)
		}
	}
}

// A node that is not a member yet, a server that is not ndring, and addresses that nothing listens on.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	waiting := &testCluster{t: t, dir: t.TempDir(), nodes: make([]*node.Node, 1), ports: make([]string, 1)}
	waiting.launch(0, "--node-id", "waiting", "--bootstrap-expect", "3")
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	resets := listen(t, func(conn *net.TCPConn) { conn.SetLinger(0) })
	web := listen(t, func(conn *net.TCPConn) { io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	other := fakeServer(t, func(args []string) any {
		if strings.EqualFold(args[0], "info") {
			return "redis_version:7.0.0\r\n"
		}
		return errText("ERR unknown command")
	})
	for _, tc := range []struct {
		addr string
		code int
		err  []string
	}{
		{"127.0.0.1:1", 3, []string{"ndctl: no node answers at 127.0.0.1:1: connection refused\nGive the address of a node with --addr HOST:PORT or NDRING_ADDR\n"}},
		{"127.0.0.1:1,127.0.0.1:2", 3, []string{"no node of a cluster answers:\n  127.0.0.1:1: connection refused\n  127.0.0.1:2: connection refused\n"}},
		{"nosuch.invalid", 3, []string{"nosuch.invalid:7379: cannot resolve nosuch.invalid"}},
		{mute.Addr().String(), 3, []string{"no answer in time (--timeout)"}},
		{resets, 3, []string{"ndctl: no node answers at " + resets + ": the connection was closed: is this a node's client port? One with TLS needs --tls\n"}},
		{web, 3, []string{"ndctl: no node answers at " + web + ": the answer is not RESP: is this a node's client port?\n"}},
		{other, 1, []string{"ndctl: " + other + ": this is not an ndring node"}},
		{waiting.ports[0], 1, []string{"ndctl: " + waiting.ports[0] + ": the node is not part of a cluster yet: it waits for "}},
		{"127.0.0.1:1," + waiting.ports[0] + "," + c.ports[0], 0, nil},
	} {
		for _, args := range []string{"status", "nodes", "shards", "where k", "forget n1 --yes", "raft status", "top --once", "get k -o -"} {
			if tc.code == 0 && args != "status" {
				continue
			}
			timeout := "20s" // a loaded machine may be slow
			if tc.addr == mute.Addr().String() {
				timeout = "100ms" // certain to expire
			}
			r := runWith(t, map[string]string{"NDRING_ADDR": tc.addr}, "", append([]string{"--timeout", timeout}, strings.Fields(args)...)...)
			if r.code != tc.code || !matches(r.err, tc.err...) || tc.code != 0 && r.out != "" {
				t.Errorf("ndctl %s at %s: exit code %d, want %d\n%s%s", args, tc.addr, r.code, tc.code, r.out, r.err)
			}
		}
	}
}

// listen accepts connections, waits for the first byte on each, calls do, and closes it. It returns
// the address.
func listen(t *testing.T, do func(*net.TCPConn)) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 1))
			do(conn.(*net.TCPConn))
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		socket.Close()
		<-ended
	})
	return socket.Addr().String()
}

// Two of three nodes are lost, with the only copies of their shards: commands show what is known and name what is not. Then the
// third one recovers, forgets the others, and gets a new member.
func TestHalfDownAndRecovered(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	c := startCluster(t, 3, "--replicas", "1")
	npy := file(t, npyOf(3))
	for i := range 30 {
		if r := c.run(c.env(), "put", fmt.Sprint("k", i), npy); r.code != 0 {
			t.Fatal(r.err)
		}
	}
	whereIs := map[string][]string{}
	for i := range 30 {
		key := fmt.Sprint("k", i)
		_, at, _ := strings.Cut(c.run(c.env(), "where", key).out, "primary    ")
		name, _, _ := strings.Cut(at, " ")
		whereIs[name] = append(whereIs[name], key)
	}
	if len(whereIs) != 3 {
		t.Fatalf("the keys are on the nodes %v, want all three", whereIs)
	}
	id := strings.Fields(c.run(c.env(), "status").out)[1]
	for _, i := range []int{1, 2} {
		c.stop(i)
		if err := os.RemoveAll(c.folder(i)); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("n1 notices that it is alone", func() string { return c.run(c.env(), "status").out }, func(got string) bool {
		return matches(got, "no quorum: 1 of 3 voters up", "health     4 problems")
	})
	c.eventually("n1 follows no leader", func() string { return c.run(c.env(), "raft", "status").out }, func(got string) bool { return strings.Contains(got, " none ") })
	gone := []string{"n2 (@n2): connection refused\n", "n3 (@n3): connection refused\n"}
	lost, kept := whereIs["n2"][0], whereIs["n1"][0]
	for _, tc := range []struct {
		args string
		code int
		out  []string
		err  []string
	}{
		{"status", 1, []string{"health 4 problems\n - n2 (@n2) has been down for TIME: connection refused\n - n3 (@n3) has been down for TIME: connection refused\n - ", " of 16 shards not served: ",
			"so the topology cannot change; missing: n2, n3. If they are lost for good: ndctl raft recover\nnodes 1 of 3 up; down: n2, n3\n", "leader none", "no quorum"}, nil},
		{"nodes", 1, []string{"* n1 40b3eab6 @n1 up ", "\n n2 40243476 @n2 down voter ", " - - - -\n"}, gone},
		{"nodes --json", 1, []string{`"error": "connection refused"`, `"keys": null`}, gone},
		{"shards --unserved", 0, []string{" down n2 n2 ", " down n3 n3 ", "!served"}, nil},
		{"shards --node n1", 0, []string{" served n1 n1 "}, nil},
		{"slots", 1, []string{" n2 - -\n", " n1 "}, gone},
		{"raft status", 1, []string{"leader none, term ", "voters n1, n2, n3; 1 of 3 up, majority 2\nquorum no: the topology cannot change", "\nn1 voter ", " no ", "\nn2 voter - - - down -\n"}, gone},
		{"top --interval 5ms", 1, []string{"\nn2 down - - - - - -\n"}, gone},
		{"bigkeys", 1, []string{" n1 <f8 (3,) ", " keys scanned"}, gone},
		{"slowlog", 1, []string{"TIME NODE"}, gone},
		{"config get maxclients", 1, []string{"maxclients 10000 n1\n"}, gone},
		{"config set maxclients 5 --node n2", 1, nil, []string{gone[0]}},
		{"get " + kept + " -o -", 0, []string{"\x93NUMPY"}, nil},
		{"get " + lost + " -o -", 1, nil, []string{gone[0]}},
		{"put " + lost + " " + npy, 1, nil, []string{gone[0]}},
		{"where " + lost, 1, []string{"primary n2 (40243476) at @n2, down\nreplicas none\nexists unknown\n"}, []string{"cannot tell whether the key exists: n2 (@n2): connection refused"}},
		{"config set timeout 5 --cluster", 1, nil, []string{"ndctl: n1 (@n1): ERR the cluster has no leader: a majority of its voters is missing\n"}},
		{"config reset timeout --cluster", 1, nil, []string{"n1 (@n1): ERR the cluster has no leader"}},
		{"config get timeout", 1, []string{"timeout 0 n1\n"}, gone},
		{"config get timeout --cluster", 0, []string{"no setting of the cluster matches timeout\n"}, nil},
		{"config set timeout 5", 0, []string{"n1: OK\n"}, nil},
		{"forget n2", 2, nil, []string{"ndctl: Forget n2 (40243476", "It has the only copy of ", "THEIR ARRAYS WILL BE LOST", "give --yes"}},
		{"forget n2 --yes", 1, nil, []string{"n1 (@n1): ERR the cluster has no leader"}},
		{"leave --yes", 1, nil, []string{"n1 (@n1): ERR no other live node can take over the shards of this one\n"}},
		{"leave n2 --yes", 1, nil, []string{gone[0]}},
	} {
		r := c.run(c.env(), strings.Fields(tc.args)...)
		if r.code != tc.code || !matches(c.plainly(r.out), tc.out...) || !matches(c.plainly(r.err), tc.err...) {
			t.Errorf("ndctl %s: exit code %d, want %d\n%s\n%s", tc.args, r.code, tc.code, c.plainly(r.out), c.plainly(r.err))
		}
	}
	recoverLastNode(t, c, id, kept)
}

// recoverLastNode recovers the remaining node of three.
func recoverLastNode(t *testing.T, c *testCluster, id, kept string) {
	c.stop(0)
	dir := c.folder(0)
	r := c.run(nil, "raft", "recover", "--dir", dir)
	if r.code != 2 || !matches(c.plainly(r.out), "cluster "+"UUID", "node n1\nlast entry ", "voters n1 (40b3eab6), n2 (40243476), n3 (26c2ce28); others that answer: none\n", "kept ", "elsewhere ", "lost ") ||
		!matches(r.err, "Make n1 the only voter of cluster "+id+"?", "give --yes") {
		t.Errorf("recover without a terminal and --yes: %+v", r)
	}
	if all, _ := filepath.Glob(filepath.Join(dir, "raft.before*")); len(all) != 0 {
		t.Errorf("a recovery that was not confirmed left %v behind", all)
	}
	r = c.run(map[string]string{"NDRING_DIR": dir}, "raft", "recover", "--yes")
	if r.code != 0 || !matches(r.out, "n1 is the only voter now. Backup of raft's files: "+filepath.Join(dir, "raft.before-recovery-")) {
		t.Fatalf("recover: %+v", r)
	}
	if r := c.run(nil, "raft", "recover", "--yes", "--dir", dir); r.code != 1 || !matches(r.err, "this node is the only voter already") {
		t.Errorf("recover twice: %+v", r)
	}
	c.launch(0)
	c.ready(0)
	c.eventually("n1 leads", func() string { r := c.run(c.env(), "status"); return c.plainly(r.out) }, func(got string) bool {
		return matches(got, "leader n1, term ", ", 1 voter, quorum\n", "health 3 problems")
	})
	for _, name := range []string{"n2", "40243476", "n3"} {
		r := c.run(c.env(), "forget", name, "--yes")
		if name == "40243476" && r.code != 1 || name != "40243476" && (r.code != 0 || !matches(r.out, name+" is forgotten\n")) {
			t.Errorf("forget %s: %+v", name, r)
		}
	}
	c.nodes, c.ports = append(c.nodes, nil), append(c.ports, "")
	c.launch(3)
	c.ready(3)
	c.eventually("n1 and n4 are a healthy cluster", func() string { return c.run(c.env(), "status").out }, func(got string) bool {
		return matches(got, id, "health     ok", "nodes      2 of 2 up", "16 of 16 served")
	})
	if r := c.run(c.env(), "get", kept, "-o", "-"); r.out != npyOf(3) {
		t.Errorf("%s: %+v", kept, r)
	}
	if r := c.run(c.env(), "leave", "n4", "--yes"); r.code != 0 || !matches(r.out, "n4 is leaving: ") {
		t.Errorf("leave: %+v", r)
	}
	c.eventually("n4 is gone", func() string { return c.run(c.env(), "nodes").out }, func(got string) bool { return !strings.Contains(got, "n4") && got != "" })
}
