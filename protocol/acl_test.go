package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// as returns a client of a user with rules.
func (s *testServer) as(t *testing.T, user, rules string) *client {
	t.Helper()
	admin := s.dial(t)
	admin.want("+OK", append([]string{"ACL", "SETUSER", user, "reset", "on", ">pw"}, strings.Fields(rules)...)...)
	admin.Close()
	c := s.dial(t)
	c.want("+OK", "AUTH", user, "pw")
	return c
}

const noKey = "-NOPERM No permissions to access a key"

func noCommand(user, full string) string {
	return "-NOPERM User " + user + " has no permissions to run the '" + full + "' command"
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	admin := s.dial(t)
	admin.want("+OK", "NP.SET", "other:a", arrayA)
	c := s.as(t, "u", "~{u}* %R~{r}* %W~{w}* +@all -@dangerous -shutdown")
	c.talk([]exchange{
		{"ACL WHOAMI", `"u"`},
		{"NP.SET {u}a $A", `+OK`},
		{"NP.GET {u}a", `"$A"`},
		{"NP.SET {r}a $A", noKey},
		{"NP.GET {r}a", `$nil`},
		{"NP.SET {w}a $A", `+OK`},
		{"NP.SET {w}a $A NX", `$nil`},
		{"NP.GET {w}a", noKey},
		{"NP.META {w}a", noKey}, // it returns attrs, which are data
		{"NP.SHAPE {w}a", `[:2 :3]`},
		{"NP.SET other:a $A", noKey},
		{"NP.GET other:a", noKey},
		{"NP.MSET {u}a $A {u}b $A", `+OK`},
		{"NP.MSET {u}a $A other:a $A", noKey}, // before CROSSSLOT
		{"NP.MGET {u}a other:a", noKey},
		{"NP.MGET other:a {u}a", noKey},
		{"DEL {u}b other:a", noKey},
		{"EXISTS {u}b", `:1`}, // nothing was deleted
		{"WATCH other:a", noKey},
		{"OBJECT FREQ other:a", noKey},
		{"MEMORY USAGE other:a", noKey},
		{"FLUSHALL", noCommand("u", "flushall")},
		{"CONFIG GET *", noCommand("u", "config|get")},
		{"CLUSTER ACL LIST", noCommand("u", "cluster|acl")},
		{"ACL SETUSER u +@all", noCommand("u", "acl|setuser")},
		{"MULTI", `+OK`},
		{"NP.SET {u}a $A", `+QUEUED`},
		{"NP.SET other:a $A", noKey},
		{"EXEC", `-EXECABORT Transaction discarded because of previous errors.`},
		{"RESET", `+RESET`},
		{"ACL WHOAMI", `"default"`},
	})
	if got := admin.do("INFO", "stats"); !strings.Contains(got, "acl_access_denied_cmd:4\r\n") || !strings.Contains(got, "acl_access_denied_key:13\r\n") {
		t.Errorf("the denials are not counted: %s", got)
	}
}

// The rights are checked again at EXEC: a command that is not allowed any more fails, and the others are executed.
func TestPermissionsChangeBeforeExec(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	admin, c := s.dial(t), s.as(t, "u", "~* +@all")
	c.want("+OK", "MULTI")
	for _, key := range []string{"{k}1", "{k}2"} {
		c.want("+QUEUED", "NP.SET", key, arrayA)
	}
	c.want("+QUEUED", "NP.GET", "{k}1")
	c.want("+QUEUED", "PING")
	admin.want("+OK", "ACL", "SETUSER", "u", "resetkeys", "~{k}2", "-ping")
	const changed = "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: "
	c.want("["+changed+"no permission to touch the specified keys +OK "+changed+"no permission to touch the specified keys "+changed+"no permission to execute the command or subcommand]", "EXEC")
	admin.want(":0", "EXISTS", "{k}1")
	admin.want(":1", "EXISTS", "{k}2")
	c.want("+OK", "MULTI")
	admin.want("+OK", "ACL", "SETUSER", "u", "-exec")
	c.want("-EXECABORT Transaction discarded because of: NOPERM User u has no permissions to run the 'exec' command", "EXEC")
	c.want(noKey, "NP.GET", "{k}1") // and not QUEUED
}

// A change of rules takes effect with the next command of clients that are connected; only DELUSER closes their connections.
func TestUsersChangeUnderClients(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	admin, c, other := s.dial(t), s.as(t, "u", "~* +@all"), s.as(t, "v", "~* +@all")
	c.want("$nil", "NP.GET", "k")
	admin.want("+OK", "ACL", "SETUSER", "u", "-np.get")
	c.want(noCommand("u", "np.get"), "NP.GET", "k")
	admin.want("+OK", "ACL", "SETUSER", "u", "resetpass", ">new", "off")
	c.want(":0", "EXISTS", "k")
	admin.want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "u", "new")
	admin.want("+OK", "ACL", "SETUSER", "u", "on")
	s.dial(t).want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "u", "pw")
	s.dial(t).want("+OK", "AUTH", "u", "new")
	if got := admin.do("CLIENT", "LIST"); strings.Count(got, " user=u ") < 1 || strings.Count(got, " user=v ") != 1 {
		t.Errorf("CLIENT LIST: %s", got)
	}
	admin.want(":1", "ACL", "DELUSER", "u", "nosuch")
	if got := c.closed(); got != "" {
		t.Errorf("a connection of a deleted user got %q", got)
	}
	other.want(":0", "EXISTS", "k")
	admin.want(":1", "CLIENT", "KILL", "USER", "v")
	if got := other.closed(); got != "" {
		t.Errorf("CLIENT KILL: %q", got)
	}
	own := s.as(t, "w", "+@all")
	own.want(":1", "ACL", "DELUSER", "w") // the reply comes before the end
	if got := own.closed(); got != "" {
		t.Errorf("the user that deleted itself got %q", got)
	}
	admin.want("+PONG", "PING")
}

// A connection that authenticated while its user was deleted may do nothing.
func TestDeletedUserMayDoNothing(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret"})
	admin := s.dial(t)
	admin.want("+OK", "AUTH", "secret")
	admin.want("+OK", "ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all")
	c := s.dial(t)
	c.want("+OK", "AUTH", "u", "x")
	users := s.accounts.users.Load()
	admin.want(":1", "ACL", "DELUSER", "u")
	c.closed()
	late := newConn(s.Server, farConn{Conn: s.dial(t).Conn}, Listener{Name: "default"}, 1<<40)
	late.login.users = users
	late.login.become(users.Get("u"), true)
	late.request.begin([]resp.Arg{resp.NewArg([]byte("DBSIZE"))})
	if _, err := s.prepare(late, &late.request); err != ErrNoAuth {
		t.Errorf("%v", err)
	}
	late.reader.Close()
}

// The default user with a password is that of requirepass, as in Redis.
func TestRequirePassIsTheDefaultUser(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret"})
	before := s.dial(t)
	before.want("-NOAUTH Authentication required.", "PING")
	admin := s.dial(t)
	admin.want("+OK", "AUTH", "secret")
	admin.want("+OK", "ACL", "SETUSER", "default", "nopass")
	before.want("+PONG", "PING") // it needs to authenticate no more
	admin.want("+OK", "ACL", "SETUSER", "default", "-@all", "+acl", "+ping")
	before.want(noCommand("default", "dbsize"), "DBSIZE")
	config := *s.config.Load()
	config.Password = "other"
	s.Reconfigure(config)
	s.dial(t).want("-NOAUTH Authentication required.", "PING")
	again := s.dial(t)
	again.want("+OK", "AUTH", "other")
	again.want(noCommand("default", "dbsize"), "DBSIZE") // only the password has changed
	again.want("+OK", "ACL", "SETUSER", "default", "off")
	s.dial(t).want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "other")
}

func TestACLFile(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	s.aclFile.Store("user a on >p ~a* +@all\nuser b on >p ~* +@all\n")
	admin := s.dial(t)
	admin.want("+OK", "ACL", "LOAD")
	a, b := s.dial(t), s.dial(t)
	a.want("+OK", "AUTH", "a", "p")
	b.want("+OK", "AUTH", "b", "p")
	c := s.as(t, "c", "+@all")
	s.aclFile.Store("user a on >p ~a* +@all\nuser b +nosuch\nb\n")
	admin.want("-ERR users.acl:2: error in rule '+nosuch': Unknown command or category name in ACL. users.acl:3: a line begins with 'user' and the name of the user. "+
		"WARNING: ACL errors detected, no change to the previously active ACL rules was performed", "ACL", "LOAD")
	c.want(`"c"`, "ACL", "WHOAMI")
	b.want(":0", "EXISTS", "k")
	admin.want("+OK", "ACL", "SETUSER", "d", "on", ">secret")
	admin.want("+OK", "ACL", "SAVE")
	if text := s.aclFile.Load().(string); strings.Count(text, "\n") != 5 || strings.Contains(text, "secret") || !strings.Contains(text, "user d on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ") {
		t.Errorf("saved:\n%s", text)
	}
	s.aclFile.Store("user a on >p ~a* +@all\nuser b on >p ~b* +@all\n")
	admin.want("+OK", "ACL", "LOAD")
	if got := b.closed() + c.closed(); got != "" { // b has other rules, c is gone
		t.Errorf("%q", got)
	}
	a.want(":0", "EXISTS", "a")
	admin.want(`["a" "b" "default"]`, "ACL", "USERS")
}

// The bytes of a large value are not taken in from a user that may not store it.
func TestUploadsNeedPermission(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.as(t, "u", "~u* %R~r +@all -np.mset")
	large := bytesNPY(1<<20, "")
	head := fmt.Sprintf("$%d\r\n", len(large))
	for _, test := range []struct{ begin, want string }{
		{"*3\r\n$6\r\nNP.SET\r\n$1\r\nr\r\n", noKey},
		{"*3\r\n$6\r\nNP.SET\r\n$1\r\nx\r\n", noKey},
		{"*3\r\n$7\r\nNP.MSET\r\n$1\r\nu\r\n", noCommand("u", "np.mset")},
		{"*5\r\n$6\r\nNP.SET\r\n$1\r\nu\r\n$2\r\nNX\r\n$2\r\nNX\r\n", ""},
	} {
		before := s.Stats()
		c.send(test.begin + head + large[:len(large)/2])
		if test.want != "" { // it is denied while its last bytes are yet to come
			eventually(t, "it is denied", func() bool {
				now := s.Stats()
				return now.DeniedKeys+now.DeniedCommands > before.DeniedKeys+before.DeniedCommands
			})
			if n := s.budget.Used(); n > 0 {
				t.Errorf("%q: %d bytes of the budget are taken", test.begin, n)
			}
		}
		c.send(large[len(large)/2:] + "\r\n")
		if got := c.reply(); test.want != "" && got != test.want || test.want == "" && !strings.HasPrefix(got, "-ERR syntax") {
			t.Errorf("%q: %s", test.begin, got)
		}
	}
	c.send("*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nNP.SET\r\n$1\r\nr\r\n" + head + large + "\r\n*1\r\n$4\r\nEXEC\r\n")
	for _, want := range []string{"+OK", noKey, "-EXECABORT Transaction discarded because of previous errors."} {
		if got := c.reply(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	multi := s.as(t, "m", "~m* +np.mset")
	multi.send("*5\r\n$7\r\nNP.MSET\r\n$1\r\nm\r\n$1\r\nx\r\n$1\r\nx\r\n" + head + large[:1<<19])
	eventually(t, "the key before the large value is denied", func() bool { return s.Stats().DeniedKeys == 4 })
	multi.send(large[1<<19:] + "\r\n")
	if got := multi.reply(); got != noKey {
		t.Errorf("the key before the large value: %s", got)
	}
}

// A client is told of changes of keys that its user may read, whatever prefix it has asked for.
func TestTrackingTellsOnlyOfReadableKeys(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	admin, c := s.dial(t), s.as(t, "u", "~u* %W~w* (%R~sel*) +@all")
	if got := c.do("HELLO", "3"); !strings.HasPrefix(got, "{") {
		t.Fatal(got)
	}
	c.want("+OK", "CLIENT", "TRACKING", "ON", "BCAST")
	for _, key := range []string{"secret", "w", "u1", "sel", "z"} {
		admin.want("+OK", "NP.SET", key, arrayA)
	}
	told := c.reply()
	for !strings.Contains(told, "sel") {
		told += c.reply()
	}
	if strings.Contains(told, "secret") || strings.Contains(told, `"w"`) || !strings.Contains(told, `"u1"`) {
		t.Errorf("told of %s", told)
	}
}

func TestACLLogIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, Config{ACLLogMaxLen: 3})
	c := s.dial(t)
	for range 5 {
		for _, user := range []string{"a", "b", "c", "d", strings.Repeat("x", 9000)} {
			c.want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", user, "p")
			if n := strings.Count(c.do("ACL", "LOG", "100"), `"username"`); n > 3 {
				t.Fatalf("%d entries", n)
			}
		}
	}
	got := c.do("ACL", "LOG", "100")
	if n := strings.Count(got, `"username"`); n != 3 || len(got) > 4000 {
		t.Errorf("%d entries of %d bytes", n, len(got))
	}
	if want := strings.Repeat("x", slowlogArgBytes) + "... (8872 more bytes)"; !strings.Contains(got, want) {
		t.Errorf("no shortened name in %s", got)
	}
}

func TestUsersOfTheCluster(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	admin := s.dial(t)
	admin.want("-ERR user-set: refused: unknown kind of op \"user-set\"", "CLUSTER", "ACL", "SETUSER", "u", "on")
	topo := *s.topo.Load()
	topo.Format, topo.Index = topology.LatestFormat, 10
	s.topo.Store(&topo)
	admin.talk([]exchange{
		{"CLUSTER ACL", `-ERR wrong number of arguments for 'cluster|acl' command`},
		{"CLUSTER ACL LIST x", `-ERR unknown subcommand or wrong number of arguments for 'LIST'. Try CLUSTER HELP.`},
		{"CLUSTER ACL WHAT", `-ERR unknown subcommand or wrong number of arguments for 'WHAT'. Try CLUSTER HELP.`},
		{"CLUSTER ACL SETUSER", `-ERR wrong number of arguments for 'cluster|acl' command`},
		{"CLUSTER ACL LIST", `[]`},
		{"CLUSTER ACL SETUSER u on >secret ~u* +@read", `+OK`},
		{"CLUSTER ACL SETUSER u +np.set", `+OK`},
		{"CLUSTER ACL SETUSER u +nosuch", `-ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL`},
		{"CLUSTER ACL LIST", `["user u on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~u* resetchannels -@all +@read +np.set"]`},
		{"ACL SETUSER u ~own", `+OK`},
		{"ACL LIST", `["user default on nopass ~* &* +@all" "user u on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~u* ~own resetchannels -@all +@read +np.set"]`},
		{"CLUSTER ACL SETUSER u off", `+OK`},
		{"ACL LIST", `["user default on nopass ~* &* +@all" "user u off #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~u* resetchannels -@all +@read +np.set"]`},
		{"CLUSTER ACL DELUSER u nosuch", `-ERR the cluster has no user 'nosuch'`},
		{"CLUSTER ACL DELUSER u u", `+OK`},
		{"ACL USERS", `["default"]`},
		{"CLUSTER ACL SETUSER default >secret", `+OK`},
	})
	s.dial(t).want("-NOAUTH Authentication required.", "PING")
	admin.want("+OK", "CLUSTER", "ACL", "DELUSER", "default")
	s.dial(t).want("+PONG", "PING")
}

// Every command of the table, tried by a client that has not authenticated, by users whose rights follow from rules, and by one of another
// prefix. What they may do is said here again, by the group and the flags of each command.
func TestEveryCommandNeedsItsRight(t *testing.T) {
	t.Parallel()
	s := startOn(t, Config{Password: "secret"}, 16, func(*shard.Store) {})
	admin := s.dial(t)
	admin.want("+OK", "AUTH", "secret")
	admin.want("+OK", "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection", "-@dangerous")
	admin.want("+OK", "ACL", "SETUSER", "other", "on", ">pw", "~other:*", "+@all")
	admin.want("+OK", "ACL", "SETUSER", "cluster", "on", ">pw", "+@connection", "-@dangerous", "+cluster|slots", "+cluster|shards", "+cluster|nodes", "+cluster|keyslot", "+cluster|myid")
	always := map[string]bool{"auth": true, "hello": true, "reset": true, "quit": true}
	connection := map[string]bool{"echo": true, "ping": true, "select": true, "command": true, "readonly": true, "readwrite": true, "asking": true, "wait": true}
	operators := map[string]bool{"list": true, "kill": true, "no-evict": true, "pause": true, "unpause": true}
	reads := map[string]bool{}
	for _, name := range strings.Fields("np.get np.mget np.shape np.dtype np.meta np.slice np.take np.verify exists ttl pttl expiretime pexpiretime type touch scan randomkey dbsize " +
		"np.exists np.ttl np.pttl np.scan memory|usage object|encoding object|freq object|idletime") {
		reads[name] = true
	}
	inConnection := func(row *command.Spec) bool {
		base, sub, _ := strings.Cut(row.Full, "|")
		return connection[base] || base == "client" && !operators[sub]
	}
	clusterClient := map[string]bool{"cluster|slots": true, "cluster|shards": true, "cluster|nodes": true, "cluster|keyslot": true, "cluster|myid": true}
	for _, test := range []struct {
		user    string
		command func(*command.Spec) bool // may be executed at all
		keys    bool                     // on the keys of the test
	}{
		{"", func(row *command.Spec) bool { return false }, false},
		{"reader", func(row *command.Spec) bool { return reads[row.Full] || inConnection(row) }, true},
		{"other", func(*command.Spec) bool { return true }, false},
		{"cluster", func(row *command.Spec) bool { return clusterClient[row.Full] || inConnection(row) }, false},
	} {
		for _, row := range commands.All() {
			if row.Handler == nil || always[row.Full] {
				continue
			}
			want, refused := "", ""
			switch {
			case test.user == "":
				want = "-NOAUTH Authentication required."
			case !test.command(row):
				want = noCommand(test.user, row.Full)
			case row.Keys.Step > 0 && !test.keys:
				want = noKey
			}
			if row.Name == "exec" && test.user != "" {
				refused = strings.Replace(want, "-", "-EXECABORT Transaction discarded because of: ", 1)
			}
			if want == "" && (row.Flags&command.Audited != 0 || row.Name == "shutdown" || row.Full == "client|reply") {
				continue // it may be executed, and would change the server of this test
			}
			c := s.dial(t)
			if test.user != "" {
				c.want("+OK", "AUTH", test.user, "pw")
			}
			args := strings.Split(row.Full, "|")
			for len(args) < max(row.Arity, -row.Arity) {
				args = append(args, "k")
			}
			got := c.do(args...)
			denied := strings.HasPrefix(got, "-NOPERM") || strings.HasPrefix(got, "-NOAUTH")
			if want != "" && got != want && got != refused || want == "" && denied {
				t.Errorf("%q: %q: %.200s, want %q", test.user, args, got, want)
			}
			c.Close()
		}
	}
}
