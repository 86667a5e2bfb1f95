package acl

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/protocol/command"
)

func testCommands() *Commands {
	row := func(name string, flags command.Flags, keys command.Keys, use []string, sub ...*command.Spec) *command.Spec {
		s := &command.Spec{Name: name, Arity: -1, Flags: flags, Group: command.GroupArray, Since: "1", Summary: "s", Keys: keys, KeyUse: use, Sub: sub, Handler: name}
		if len(sub) > 0 {
			s.Handler = nil
		}
		return s
	}
	none := command.Keys{}
	return NewCommands(command.NewTable([]*command.Spec{
		row("get", command.ReadOnly|command.Fast, command.OneKey, command.KeysRead), row("mget", command.ReadOnly, command.AllKeys, command.KeysRead),
		row("set", command.Write, command.OneKey, command.KeysStored), row("del", command.Write, command.AllKeys, command.KeysDeleted),
		row("exists", command.ReadOnly, command.AllKeys, command.KeysSeen), row("ping", command.Fast, none, nil), row("auth", command.NoAuth, none, nil),
		row("select", command.Fast, none, nil),
		row("config", 0, none, nil, row("get", command.Admin, none, nil), row("set", command.Admin, none, nil)),
	}, func(container *command.Spec) command.Handler { return "help" }))
}

// Each line of rules makes a user that prints as the second line, or is refused with the error. The lines are those that redis-server 7.0.15 prints, but
// for rules about commands, which are those of 7.2: it keeps them as they were given.
func TestRules(t *testing.T) {
	t.Parallel()
	c := testCommands()
	const none = "off resetchannels -@all"
	for _, test := range []struct{ rules, want string }{
		{"", none},
		{"on", "on resetchannels -@all"},
		{"on off", none},
		{"ON NoPass ResetKeys +@All", "on nopass resetchannels +@all"},
		{">p", "off #148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940 resetchannels -@all"},
		{">p >p", "off #148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940 resetchannels -@all"},
		{">p <p", none},
		{"#148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940 <p", none},
		{">p !148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940", none},
		{">p nopass", "off nopass resetchannels -@all"},
		{"nopass >p", "off #148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940 resetchannels -@all"},
		{"nopass resetpass", none},
		{"sanitize-payload", "off sanitize-payload resetchannels -@all"},
		{"skip-sanitize-payload", "off skip-sanitize-payload resetchannels -@all"},
		{"on nopass ~a &b +get (+set) reset", "off sanitize-payload resetchannels -@all"},
		{"~a %R~b %W~c %RW~d %wr~e", "off ~a %R~b %W~c ~d ~e resetchannels -@all"},
		{"%R~a %W~a", "off ~a resetchannels -@all"},
		{"~a ~a", "off ~a resetchannels -@all"},
		{"~a ~*", "off ~* resetchannels -@all"},
		{"%RW~*", "off ~* resetchannels -@all"},
		{"%R~* %W~*", "off ~* resetchannels -@all"},
		{"%R~*", "off %R~* resetchannels -@all"},
		{"allkeys resetkeys ~a", "off ~a resetchannels -@all"},
		{"~", "off ~ resetchannels -@all"},
		{"&a &b", "off resetchannels &a &b -@all"},
		{"&a &*", "off &* -@all"},
		{"allchannels resetchannels", none},
		{"+get", "off resetchannels -@all +get"},
		{"+GET", "off resetchannels -@all +get"},
		{"+get +get -get", "off resetchannels -@all -get"},
		{"+@all -get", "off resetchannels +@all -get"},
		{"+@read +get -@read", "off resetchannels -@all +get -@read"},
		{"+@read +@all", "off resetchannels +@all"},
		{"+@all nocommands", none},
		{"+config|get", "off resetchannels -@all +config|get"},
		{"+config|get +config", "off resetchannels -@all +config"},
		{"+config -config|get", "off resetchannels -@all +config -config|get"},
		{"+select|0 +select|1", "off resetchannels -@all +select|0 +select|1"},
		{"+select|0 -select", "off resetchannels -@all -select"},
		{"(~a +get)", "off resetchannels -@all (~a resetchannels -@all +get)"},
		{"(~a +get) ( +set )", "off resetchannels -@all (~a resetchannels -@all +get) (resetchannels -@all +set)"},
		{"()", "off resetchannels -@all (resetchannels -@all)"},
		{"(+get) clearselectors", none},

		{"+nosuch", "Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"},
		{"+@nosuch", "Error in ACL SETUSER modifier '+@nosuch': Unknown command or category name in ACL"},
		{"+config|nosuch", "Error in ACL SETUSER modifier '+config|nosuch': Unknown command or category name in ACL"},
		{"-select|0", "Error in ACL SETUSER modifier '-select|0': Unknown command or category name in ACL"},
		{"+get|a|b", "Error in ACL SETUSER modifier '+get|a|b': Unknown command or category name in ACL"},
		{"+config|get|x", "Error in ACL SETUSER modifier '+config|get|x': Allowing first-arg of a subcommand is not supported"},
		{"+select|", "Error in ACL SETUSER modifier '+select|': Syntax error"},
		{"+config|", "Error in ACL SETUSER modifier '+config|': Syntax error"},
		{"+", "Error in ACL SETUSER modifier '+': Unknown command or category name in ACL"},
		{"foo", "Error in ACL SETUSER modifier 'foo': Syntax error"},
		{"%X~a", "Error in ACL SETUSER modifier '%X~a': Syntax error"},
		{"%RR~a", "Error in ACL SETUSER modifier '%RR~a': Syntax error"},
		{"%~a", "Error in ACL SETUSER modifier '%~a': Syntax error"},
		{"%R", "Error in ACL SETUSER modifier '%R': Syntax error"},
		{"~* ~a", "Error in ACL SETUSER modifier '~a': " + errAllKeys.Error()},
		{"&* &a", "Error in ACL SETUSER modifier '&a': " + errAllChannels.Error()},
		{"<p", "Error in ACL SETUSER modifier '<p': The password you are trying to remove from the user does not exist"},
		{"#zz", "Error in ACL SETUSER modifier '#zz': The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"},
		{"#148DE9C5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940", "Error in ACL SETUSER modifier '#148DE9C5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940': The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"},
		{"(on)", "Error in ACL SETUSER modifier '(on)': Syntax error"},
		{"(>p)", "Error in ACL SETUSER modifier '(>p)': Syntax error"},
		{"(~a (+get))", "Error in ACL SETUSER modifier '(~a (+get))': Syntax error"},
		{"(+get ~a", "Unmatched parenthesis in acl selector starting at '(+get'."},
		{"+get ~b)x (+get", "Unmatched parenthesis in acl selector starting at '(+get'."},
	} {
		u, err := ParseRules(c, "u", test.rules)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = u.Rules()
			if again, err := ParseRules(c, "u", got); err != nil || again.Rules() != got {
				t.Errorf("%q prints as %q, which makes %v, %v", test.rules, got, again, err)
			}
		}
		if got != test.want {
			t.Errorf("%q:\ngot  %s\nwant %s", test.rules, got, test.want)
		}
	}
	for _, rule := range []string{"~a b", "&a b", "~a\x00", "~a\tb"} {
		if _, err := New(c, "u").With(rule); err == nil {
			t.Errorf("the rule %q is accepted", rule)
		}
	}
	var many []string
	for i := range maxPatterns {
		many = append(many, fmt.Sprint("~", i))
	}
	u, err := New(c, "u").With(many...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.With("~more"); err == nil || !strings.Contains(err.Error(), "4096 patterns") {
		t.Errorf("patterns without end: %v", err)
	}
	if _, err := u.With("&" + strings.Repeat("x", MaxRules)); err == nil || !strings.Contains(err.Error(), "65536 bytes") {
		t.Errorf("rules without end: %v", err)
	}
}

// What a user may do, by rules and command: + allowed, c command denied, k and a number: this key is denied.
func TestCheck(t *testing.T) {
	t.Parallel()
	c := testCommands()
	for _, test := range []struct{ rules, command, want string }{
		{"", "ping", "c"},
		{"", "auth", "+"}, // of connections that must be able to authenticate
		{"+ping", "ping", "+"},
		{"+@all", "ping", "+"},
		{"+@all -ping", "ping", "c"},
		{"+@all -ping +ping", "ping", "+"},
		{"+@all", "get a", "k0"},
		{"+@all ~*", "get a", "+"},
		{"~*", "get a", "c"},
		{"+@all ~a", "get a", "+"},
		{"+@all ~a*", "mget a ab b", "k2"},
		{"+@all ~a ~b", "mget a b", "+"},
		{"+@all %R~a", "get a", "+"},
		{"+@all %R~a", "set a", "k0"},
		{"+@all %R~a", "del a", "k0"},
		{"+@all %W~a", "get a", "k0"},
		{"+@all %W~a", "set a", "+"},
		{"+@all %W~a", "exists a", "+"},
		{"+@all %R~a", "exists a b", "k1"},
		{"+@all %R~a*", "set ab", "k0"},
		{"+@read ~*", "get a", "+"},
		{"+@read ~*", "set a", "c"},
		{"+@array -@write ~*", "set a", "c"},
		{"+@array -@write ~*", "get a", "+"},
		{"+@fast", "ping", "+"},
		{"+config|get", "config get", "+"},
		{"+config|get", "config set", "c"},
		{"+config|get", "config help", "c"},
		{"+config", "config help", "+"},
		{"+config -config|set", "config set", "c"},
		{"+select|0", "select 0", "+"},
		{"+select|a", "select A", "+"},
		{"+select|0", "select 1", "c"},
		{"+select|0", "select", "c"},
		{"+select -select", "select 0", "c"},
		{"+select|0 +@fast -@fast", "select 0", "c"},
		{"+get ~a (+set ~b)", "set b", "+"},
		{"+get ~a (+set ~b)", "set a", "k0"},
		{"+get ~a (+set ~b)", "get b", "k0"},
		{"+get ~a (+set ~b)", "del a", "c"},
		{"(+mget ~a) (+mget ~b)", "mget a b", "k1"},
		{"(+mget ~b) (+mget ~a)", "mget a b", "k1"},
		{"(+mget ~b) (+@all ~*)", "mget a b", "+"},
	} {
		u, err := ParseRules(c, "u", test.rules)
		if err != nil {
			t.Fatal(err)
		}
		if got := decide(c, u, strings.Fields(test.command)); got != test.want {
			t.Errorf("%q, %s: %s, want %s", test.rules, test.command, got, test.want)
		}
	}
}

// decide returns what Check says about a command.
func decide(c *Commands, u *User, words []string) string {
	row := c.table.Find([]byte(words[0]))
	keys := [][]byte{}
	if len(row.Sub) > 0 {
		row = c.table.FindFull([]byte(words[0] + "|" + words[1]))
	}
	if row.Keys.Step > 0 {
		for _, key := range words[1:] {
			keys = append(keys, []byte(key))
		}
	}
	var first []byte
	if len(words) > 1 {
		first = []byte(words[1])
	}
	switch d := u.Check(row, first, keys); d.Kind {
	case Allowed:
		return "+"
	case Command:
		return "c"
	default:
		return fmt.Sprint("k", d.Key)
	}
}

var someRules = strings.Fields("on off nopass resetpass >p >q <p <q ~* ~a* ~b %R~a* %W~b %RW~c resetkeys &* &x resetchannels +@all -@all +get -get +@read -@read +@write -@write +@array " +
	"+config -config +config|get -config|get +select|0 +select -select -@fast +@fast reset clearselectors (+get) (~b) (+@all) (%R~a*) (+mget) +exists -exists sanitize-payload")

// A user has the rules that it prints, and decides as they do.
func TestPrintedRulesAreTheUser(t *testing.T) {
	t.Parallel()
	c := testCommands()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		u := New(c, "u")
		var given []string
		for range 1 + random.IntN(12) {
			rule := someRules[random.IntN(len(someRules))]
			if more, err := u.With(rule); err == nil {
				u = more
				given = append(given, rule)
			}
		}
		again, err := ParseRules(c, "u", u.Rules())
		if err != nil || again.Rules() != u.Rules() {
			t.Fatalf("seed %d: %q print as %q, which make %v, %v", seed, given, u.Rules(), again, err)
		}
		for _, words := range []string{"get ab", "get b", "mget a b", "set b", "set a", "exists a", "del c", "config get", "config set", "ping", "select 0", "select 1"} {
			if a, b := decide(c, u, strings.Fields(words)), decide(c, again, strings.Fields(words)); a != b {
				t.Fatalf("seed %d: %q allow %s: %s; printed as %q: %s", seed, given, words, a, u.Rules(), b)
			}
		}
	}
}

func FuzzRules(f *testing.F) {
	for _, rule := range someRules {
		f.Add(rule + " +get (~a -set)")
	}
	c := testCommands()
	f.Fuzz(func(t *testing.T, rules string) {
		u, err := ParseRules(c, "u", rules)
		if err != nil {
			return
		}
		if again, err := ParseRules(c, "u", u.Rules()); err != nil || again.Rules() != u.Rules() {
			t.Errorf("%q prints as %q, which makes %v, %v", rules, u.Rules(), again, err)
		}
	})
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	c := testCommands()
	l := NewLayers(c)
	for name, rules := range map[string]string{"a": "on >p >q", "off": "off >p", "open": "on nopass", "shut": "on"} {
		if err := l.Set(name, strings.Fields(rules)); err != nil {
			t.Fatal(err)
		}
	}
	users := l.Effective()
	for _, test := range []struct {
		name, password string
		want           bool
	}{
		{"a", "p", true}, {"a", "q", true}, {"a", "", false}, {"a", "P", false}, {"off", "p", false}, {"open", "anything", true}, {"shut", "", false},
		{"nosuch", "", false}, {"nosuch", "p", false}, {"default", "x", true},
	} {
		if got := users.Authenticate(test.name, []byte(test.password)); (got != nil) != test.want || got != nil && got.Name() != test.name {
			t.Errorf("%s with %q: %v", test.name, test.password, got)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	c := testCommands()
	text := "# users\n\nuser b on +get  ~x (~a +set)\r\n\tuser a off\nuser default on >x ~* +@all"
	users, err := ParseFile(c, "f", text)
	if err != nil || len(users) != 3 {
		t.Fatal(users, err)
	}
	printed := FormatFile(users)
	const want = "user a off resetchannels -@all\nuser b on ~x resetchannels -@all +get (~a resetchannels -@all +set)\n" +
		"user default on #2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 ~* resetchannels +@all\n"
	if printed != want {
		t.Errorf("printed as\n%s", printed)
	}
	if again, err := ParseFile(c, "f", printed); err != nil || FormatFile(again) != printed {
		t.Errorf("%v, %v", again, err)
	}
	_, err = ParseFile(c, "f.acl", "user a on\nusr b\nuser\nuser c +nosuch\nuser a off\nuser d (~a\nuser e secret\n")
	const all = "f.acl:2: a line begins with 'user' and the name of the user. f.acl:3: a line begins with 'user' and the name of the user. " +
		"f.acl:4: error in rule '+nosuch': Unknown command or category name in ACL. f.acl:5: duplicate user 'a'. " +
		"f.acl:6: Unmatched parenthesis in acl selector starting at '(~a'.. f.acl:7: error in rule '(redacted)': Syntax error."
	if err == nil || err.Error() != all {
		t.Errorf("got  %v\nwant %s", err, all)
	}
	for _, name := range []string{"", "a b", "a\x00", strings.Repeat("x", MaxName+1)} {
		if CheckName(name) == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
}

// In effect is what was decided on the node, else what the cluster has, else the file, else the settings.
func TestLayers(t *testing.T) {
	t.Parallel()
	c := testCommands()
	l := NewLayers(c)
	shows := func(want string) {
		t.Helper()
		var lines []string
		for _, u := range l.Effective().All() {
			own, _ := u.Rights()
			lines = append(lines, u.Name()+":"+own.Keys)
		}
		if got := strings.Join(lines, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	file := func(text string) {
		t.Helper()
		users, err := ParseFile(c, "f", text)
		if err != nil {
			t.Fatal(err)
		}
		l.Load(users)
	}
	at := func(n uint64, rules string) Definition { return Definition{Rules: rules, At: n} }
	shows("default:~*")
	file("user a ~file\nuser b ~file\nuser default ~file")
	shows("a:~file b:~file default:~file")
	l.SetCluster(map[string]Definition{"b": at(3, "~cluster"), "c": at(3, "~cluster")})
	shows("a:~file b:~cluster c:~cluster default:~file")
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := l.Set(name, []string{"resetkeys", "~own"}); err != nil {
			t.Fatal(err)
		}
	}
	shows("a:~own b:~own c:~own d:~own default:~file")
	if saved := FormatFile(l.Saved()); strings.Count(saved, "~own") != 4 {
		t.Errorf("saved:\n%s", saved)
	}
	l.SetCluster(map[string]Definition{"b": at(3, "~cluster"), "c": at(4, "~cluster")}) // c was decided again, with the same rules
	shows("a:~own b:~own c:~cluster d:~own default:~file")
	if n := l.Delete([]string{"b", "nosuch", "default"}); n != 1 {
		t.Errorf("%d users deleted", n)
	}
	shows("a:~own c:~cluster d:~own default:~file")
	if changed, _ := l.SetCluster(map[string]Definition{"b": at(3, "~cluster"), "c": at(4, "~cluster")}); changed {
		t.Error("the same users are a change")
	}
	l.SetCluster(map[string]Definition{"c": at(4, "~cluster")}) // deleted in the cluster: what the node has decided before is dropped, too
	shows("a:~own b:~file c:~cluster d:~own default:~file")
	if saved := FormatFile(l.Saved()); strings.Contains(saved, "~cluster") {
		t.Errorf("users of the cluster are saved:\n%s", saved)
	}
	file("user a ~new")
	shows("a:~new c:~cluster default:~*")
	_, unknown := l.SetCluster(map[string]Definition{"c": at(5, "on nopass ~* +future")})
	if u := l.Effective().Get("c"); !slices.Equal(unknown, []string{"c"}) || u.Rules() != New(c, "c").Rules() {
		t.Errorf("rules of a later version make %v, unknown are %v", u, unknown)
	}
}

func TestPasswordOfTheSettings(t *testing.T) {
	t.Parallel()
	c := testCommands()
	l := NewLayers(c)
	enters := func(want bool, passwords ...string) {
		t.Helper()
		for _, password := range passwords {
			if got := l.Effective().Authenticate("default", []byte(password)) != nil; got != want {
				t.Errorf("%q: %v", password, got)
			}
		}
	}
	enters(true, "", "x")
	l.SetPassword("s", true)
	enters(true, "s")
	enters(false, "", "x")
	l.Load(map[string]*User{})
	enters(false, "", "x") // unlike Redis: a file without the default user does not open the node
	l.SetPassword("new", false)
	enters(true, "new")
	enters(false, "s")
	l.Load(map[string]*User{})
	enters(true, "new")
	enters(false, "s", "")
	file, err := ParseFile(c, "f", "user default on >f ~* +@all")
	if err != nil {
		t.Fatal(err)
	}
	l.Load(file)
	enters(true, "f")
	enters(false, "new")
	l.SetPassword("", false)
	enters(true, "", "x")
}

func TestClusterUser(t *testing.T) {
	t.Parallel()
	c := testCommands()
	for _, test := range []struct {
		name, rules string
		known       bool
		want        string
	}{
		{"a", "", false, "off resetchannels -@all"},
		{"a", "on ~x", true, "on ~x resetchannels -@all"},
		{"default", "", false, "on nopass ~* &* +@all"},
		{"default", "off", true, "off resetchannels -@all"},
	} {
		if u, err := ClusterUser(c, test.name, test.rules, test.known); err != nil || u.Rules() != test.want {
			t.Errorf("%+v: %v, %v", test, u, err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	c := testCommands()
	row := c.table.Find([]byte("get"))
	keys := [][]byte{[]byte("other:key:123")}
	for _, test := range []struct{ name, rules string }{
		{"everything", "+@all ~*"}, {"commands", "+@read ~*"}, {"prefix", "+@all ~other:*"}, {"selector", "+@write ~x (+@read ~other:*)"},
	} {
		u, err := ParseRules(c, "u", test.rules)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if u.Check(row, nil, keys).Kind != Allowed {
					b.Fatal("denied")
				}
			}
		})
	}
}
