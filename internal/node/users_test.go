package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
)

// awaitUsers waits until all nodes have the lines of ACL LIST, without the default user.
func awaitUsers(t *testing.T, nodes []*Node, want ...string) {
	t.Helper()
	want = append([]string{"user default on nopass ~* &* +@all"}, want...)
	slices.Sort(want)
	wanted := fmt.Sprintf("%q", want)
	for _, n := range nodes {
		c := dialTalker(t, n)
		for deadline := time.Now().Add(clusterTime); ; time.Sleep(time.Millisecond) {
			got := c.say("ACL", "LIST")
			if got == wanted {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has the users\n%s\nwant\n%s", n.config.NodeID, got, wanted)
			}
		}
	}
}

// hashOfPW is the rule that gives a user the password pw.
const hashOfPW = "#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4"

// All nodes have the users of the cluster, also those that join later, and no node ever sees a password that another one was given.
func TestUsersOfTheCluster(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3)
	awaitTopology(t, nodes, func(topo *topology.Topology) bool { return topo.Format >= topology.Format3 })
	expect(t, nodes[0], "+OK", "CLUSTER ACL SETUSER app on >pw ~app:* +@read")
	awaitUsers(t, nodes, "user app on "+hashOfPW+" ~app:* resetchannels -@all +@read")
	expect(t, nodes[2], "+OK", "CLUSTER ACL SETUSER app +np.set")
	app := "user app on " + hashOfPW + " ~app:* resetchannels -@all +@read +np.set"
	awaitUsers(t, nodes, app)
	encoded, err := nodes[1].cluster.Topology().Encode()
	if err != nil || bytes.Contains(encoded, []byte(`"pw"`)) || bytes.Contains(encoded, []byte(">pw")) {
		t.Errorf("the topology has the password: %s, %v", encoded, err)
	}

	// What a node decides for itself holds until the cluster decides again about the same user.
	expect(t, nodes[1], "+OK", "ACL SETUSER app off")
	expect(t, nodes[1], "+OK", "ACL SETUSER own on nopass +ping")
	expect(t, nodes[0], "+OK", "CLUSTER ACL SETUSER ops on nopass ~* +@all")
	const ops = "user ops on nopass ~* resetchannels +@all"
	awaitUsers(t, nodes[1:2], strings.Replace(app, " on ", " off ", 1), ops, "user own on nopass resetchannels -@all +ping")
	awaitUsers(t, nodes[2:], app, ops)
	expect(t, nodes[2], "+OK", "CLUSTER ACL SETUSER app on")
	awaitUsers(t, nodes[1:2], app, ops, "user own on nopass resetchannels -@all +ping")

	joined := joinCluster(t, nodes)
	awaitUsers(t, []*Node{joined}, app, ops)

	clients := map[string]*talker{}
	for _, user := range []string{"app", "ops"} {
		c := dialTalker(t, nodes[1])
		if got := c.say("AUTH", user, "pw"); got != "+OK" {
			t.Fatal(got)
		}
		clients[user] = c
	}
	expect(t, joined, "+OK", "CLUSTER ACL DELUSER ops")
	awaitUsers(t, nodes[:1], app)
	if reply, err := clients["ops"].r.ReadString('\n'); err == nil {
		t.Errorf("a connection of a deleted user got %q", reply)
	}
	if got := clients["app"].say("ACL", "WHOAMI"); got != "-NOPERM User app has no permissions to run the 'acl|whoami' command" {
		t.Errorf("a connection of another user: %s", got)
	}
	for _, test := range []struct{ command, want string }{
		{"CLUSTER ACL SETUSER x +nosuch", "-ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"},
		{"CLUSTER ACL DELUSER ops", "-ERR the cluster has no user 'ops'"},
		{"CLUSTER ACL LIST", fmt.Sprintf("[%q]", app)},
	} {
		expect(t, nodes[0], test.want, test.command)
	}
}

// Users of the cluster are in effect before a node serves, also when it starts alone and can learn nothing from the others.
func TestUsersOfTheClusterSurviveRestarts(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	eventually(t, "the cluster can have users", all, func() string {
		if reply := all[1].says("CLUSTER", "ACL", "SETUSER", "default", ">s3cret"); reply != "OK" {
			return reply
		}
		return ""
	})
	eventually(t, "all nodes want the password", all, func() string {
		for _, m := range all {
			if reply := m.says("PING"); !strings.HasPrefix(reply, "NOAUTH ") {
				return m.name + ": " + reply
			}
		}
		return ""
	})
	inParallel((*member).kill, all...)
	all[2].start("--join", seedsOf(all...), "--bootstrap-expect", "3")
	eventually(t, "a node that starts alone answers", all[2:], func() string {
		reply := all[2].says("PING")
		if strings.HasPrefix(reply, "NOAUTH ") {
			return ""
		}
		if reply == "PONG" || strings.HasPrefix(reply, "LOADING") || strings.HasPrefix(reply, "CLUSTERDOWN") {
			t.Fatalf("it serves a client that has no password: %s", reply)
		}
		return reply
	})
	nc, err := net.Dial("tcp", all[2].client())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := newTalker(nc).say("AUTH", "s3cret"); got != "+OK" {
		t.Errorf("AUTH: %s", got)
	}
	for _, m := range all {
		err := filepath.WalkDir(m.folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if bytes.Contains(content, []byte("s3cret")) {
				t.Errorf("%s has the password", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A user that several clients change at once has the rules of all of them.
func TestUsersAreChangedAtOnce(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3)
	awaitTopology(t, nodes, func(topo *topology.Topology) bool { return topo.Format >= topology.Format3 })
	replies := make(chan string)
	for i, n := range nodes {
		c := dialTalker(t, n)
		go func() { replies <- c.say("CLUSTER", "ACL", "SETUSER", "u", fmt.Sprintf("~k%d", i)) }()
	}
	for range nodes {
		if reply := <-replies; reply != "+OK" {
			t.Fatal(reply)
		}
	}
	for _, n := range nodes {
		rules := n.cluster.Topology().Users["u"].Rules
		if !strings.Contains(rules, "~k0") || !strings.Contains(rules, "~k1") || !strings.Contains(rules, "~k2") {
			awaitTopology(t, nodes, func(topo *topology.Topology) bool {
				return strings.Count(topo.Users["u"].Rules, "~k") == 3
			})
		}
	}
}

// A change that another one overtakes is made again, for the users that are there then.
func TestOvertakenChangeOfUsers(t *testing.T) {
	t.Parallel()
	n := openNode(t)
	awaitTopology(t, []*Node{n}, func(topo *topology.Topology) bool { return topo.Format >= topology.Format3 })
	asked := 0
	err := n.view.ChangeUsers(t.Context(), func(users map[string]topology.User) ([]topology.Op, error) {
		if asked++; asked == 1 {
			expect(t, n, "+OK", "CLUSTER ACL SETUSER u ~other")
		}
		was := users["u"]
		return []topology.Op{{Kind: topology.UserSet, Name: "u", Value: was.Rules + " ~mine", Base: was.At}}, nil
	})
	if rules := n.cluster.Topology().Users["u"].Rules; err != nil || asked != 2 || !strings.Contains(rules, "~other") || !strings.Contains(rules, "~mine") {
		t.Errorf("asked %d times: %q, %v", asked, rules, err)
	}
}

// A node with a wrong ACL file does not start; it says what is wrong in all lines.
func TestNodeNeedsItsACLFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users.acl")
	if err := newNode(t, "--aclfile", file).Open(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "cannot read the ACL file") {
		t.Errorf("without the file: %v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("user a on\nusr b\nuser c +nosuch\n")
	err := newNode(t, "--aclfile", file).Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), file+":2: ") || !strings.Contains(err.Error(), file+":3: error in rule '+nosuch'") {
		t.Errorf("with a wrong file: %v", err)
	}
	write("user a on >pw ~* +@all\nuser default on >pw2 ~* &* +@all\n")
	n := openNode(t, "--aclfile", file, "--requirepass", "other")
	c := dialTalker(t, n)
	for _, test := range []struct{ command, want string }{
		{"AUTH other", "-WRONGPASS invalid username-password pair or user is disabled."}, // the file's default user prevails
		{"AUTH pw2", "+OK"},
		{"AUTH a pw", "+OK"},
		{"ACL SETUSER b on >pw", "+OK"},
		{"CONFIG GET aclfile", `["aclfile" "` + file + `"]`},
		{"CONFIG SET acllog-max-len 5", "+OK"},
		{"ACL SAVE", "+OK"},
	} {
		if got := c.say(strings.Fields(test.command)...); got != test.want {
			t.Errorf("%s: %s, want %s", test.command, got, test.want)
		}
	}
	saved, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(saved), "user b on "+hashOfPW+" ") || strings.Contains(string(saved), "pw") {
		t.Errorf("saved: %s, %v", saved, err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	if got := c.say("ACL", "LOAD"); got != "+OK" {
		t.Errorf("what was saved cannot be loaded: %s", got)
	}
	closeWithin(t, n)
	n = openNode(t, "--aclfile", file)
	if got := dialTalker(t, n).say("AUTH", "b", "pw"); got != "+OK" {
		t.Errorf("after a restart: %s", got)
	}
}

// An ACL file that cannot be replaced stays as it is.
func TestACLFileIsReplacedOrKept(t *testing.T) {
	t.Parallel()
	if err := aclFile("").write("x"); !errors.Is(err, protocol.ErrNoACLFile) {
		t.Errorf("without a file: %v", err)
	}
	folder := t.TempDir()
	if err := aclFile(filepath.Join(folder, "none")).write("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	real, link := filepath.Join(folder, "real"), filepath.Join(folder, "link")
	if err := errors.Join(os.WriteFile(real, []byte("old"), 0o600), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	if err := aclFile(link).write("new"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(real)
	if target, linkErr := os.Readlink(link); err != nil || linkErr != nil || string(content) != "new" || target != "real" {
		t.Errorf("%s, %v; the link leads to %s, %v", content, err, target, linkErr)
	}
	if os.Getuid() == 0 {
		return // root may write everywhere
	}
	if err := os.Chmod(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(folder, 0o700)
	if err := aclFile(real).write("newer"); err == nil {
		t.Error("a folder without permission: no error")
	}
	if content, err := os.ReadFile(real); err != nil || string(content) != "new" {
		t.Errorf("after a failure: %s, %v", content, err)
	}
}
