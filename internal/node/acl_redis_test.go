package node

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/protocol/command"
)

// bothSides returns connections to redis-server and to a node.
func bothSides(t *testing.T) (redis, ours *talker) {
	t.Helper()
	var sides [2]*talker
	for i, address := range []string{startRedis(t), openNode(t).ClientAddrs()[0].String()} {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		sides[i] = newTalker(nc)
	}
	return sides[0], sides[1]
}

// Any sequence of rules decides as in Redis about commands and keys that both know. SET and GET stand for NP.SET and NP.GET.
func TestRulesDecideAsInRedis(t *testing.T) {
	t.Parallel()
	redis, ours := bothSides(t)
	translate := strings.NewReplacer("+set", "+np.set", "-set", "-np.set", "+get", "+np.get", "-get", "-np.get").Replace
	rules := strings.Fields("~* ~a* ~b %R~a* %W~b* %RW~c resetkeys +@all -@all +get -get +set -set +@read -@read +@write -@write +@keyspace -@keyspace +@fast -@fast +@slow -@slow " +
		"+@dangerous -@dangerous +@admin -@admin +@connection -@connection +@transaction +config -config +config|get -config|get +config|set +client|id -client|id +client -client " +
		"+select|0 +select -select +exists -exists +del +expire -ttl +ttl +touch +persist -ping +ping +multi +object|freq -object +nosuch +config|nosuch ~\x00 &* reset allcommands allkeys nocommands " +
		"clearselectors (+get) (~a*) (+@all) (%R~a*,+ttl) (%W~*,+set,+del) (+@read,~b) (+@write,%R~*) (+select|0) (+nosuch)")
	asked := strings.Split("GET a1;GET b;GET c;SET a1 v;SET b v;SET c v;EXISTS a1;EXISTS b;EXISTS a1 b;EXISTS a1 c b;TTL a1;TTL b;EXPIRE b 1;EXPIRE a1 1;DEL a1 b;DEL b1;TOUCH c;PERSIST a1;TYPE c;"+
		"PING;SELECT 0;SELECT 1;CONFIG GET x;CONFIG SET maxclients 1;CONFIG HELP;CLIENT ID;CLIENT LIST;CLIENT KILL x;MULTI;EXEC;WATCH a1;OBJECT FREQ a1;INFO;AUTH x;HELLO;QUIT;ECHO x;DBSIZE;SCAN 0;"+
		"FLUSHALL;SHUTDOWN;WAIT 0 0;TIME;CLUSTER SLOTS;CLUSTER NODES;CLUSTER FORGET x;CLUSTER KEYSLOT x;COMMAND;COMMAND COUNT;SLOWLOG GET;MEMORY USAGE a1;RANDOMKEY;ACL LIST;ACL WHOAMI;READONLY;UNLINK b;EXPIRETIME a1", ";")
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	users := 60
	if !testing.Short() {
		users = 600
	}
	decided := map[string]int{}
	for range users {
		redis.say("ACL", "DELUSER", "u")
		ours.say("ACL", "DELUSER", "u")
		var given []string
		for range 1 + random.IntN(9) {
			rule := strings.ReplaceAll(rules[random.IntN(len(rules))], ",", " ")
			theirs, mine := redis.say("ACL", "SETUSER", "u", rule), ours.say("ACL", "SETUSER", "u", translate(rule))
			if theirs[0] != mine[0] {
				t.Fatalf("seed %d: %q and then %q: Redis %s, ndring %s", seed, given, rule, theirs, mine)
			}
			given = append(given, rule)
		}
		for range 25 {
			args := strings.Fields(asked[random.IntN(len(asked))])
			mine := slices.Clone(args)
			if mine[0] == "GET" || mine[0] == "SET" {
				mine[0] = "NP." + mine[0]
			}
			theirs := denials.Replace(redis.say(append([]string{"ACL", "DRYRUN", "u"}, args...)...))
			got := withoutName.ReplaceAllString(ours.say(append([]string{"ACL", "DRYRUN", "u"}, mine...)...), "user has no permission")
			got = strings.ReplaceAll(got, "'np.", "'")
			if theirs != got {
				t.Fatalf("seed %d: %q, %q:\nRedis  %s\nndring %s\n%s", seed, given, args, theirs, got, ours.say("ACL", "LIST"))
			}
			switch {
			case strings.Contains(got, "' key"):
				decided["key"]++
			case strings.Contains(got, "to run the"):
				decided["command"]++
			default:
				decided["allowed"]++
			}
		}
	}
	if len(decided) != 3 {
		t.Errorf("seed %d: decided only %v", seed, decided)
	}
	t.Logf("decided %v", decided)
}

// Each command that Redis has is in the same categories here.
func TestCategoriesAreThoseOfRedis(t *testing.T) {
	t.Parallel()
	redis, ours := bothSides(t)
	list := func(side *talker, args ...string) map[string]bool {
		all := map[string]bool{}
		for _, name := range names.FindAllString(side.say(args...), -1) {
			all[strings.Trim(name, `"`)] = true
		}
		return all
	}
	theirs, mine := list(redis, "COMMAND", "LIST"), list(ours, "COMMAND", "LIST")
	compared := 0
	for category := range list(redis, "ACL", "CAT") {
		if !slices.Contains(command.Categories, category) {
			t.Errorf("ndring has no category %s", category)
		}
		inRedis, here := list(redis, "ACL", "CAT", category), list(ours, "ACL", "CAT", category)
		for name := range mine {
			base, _, isSub := strings.Cut(name, "|")
			if theirs[name] && (!isSub || theirs[base]) {
				if compared++; inRedis[name] != here[name] {
					t.Errorf("%s is in @%s: %v in Redis, %v here", name, category, inRedis[name], here[name])
				}
			}
		}
	}
	for name := range mine {
		if strings.HasPrefix(name, "np.") != list(ours, "ACL", "CAT", command.CategoryArray)[name] {
			t.Errorf("%s and @%s", name, command.CategoryArray)
		}
	}
	if compared < 1000 {
		t.Errorf("only %d pairs were compared", compared)
	}
}

// ACL LOG has the same entries as in Redis after the same commands, with the fields of 7.2.
func TestLogOfDenialsIsThatOfRedis(t *testing.T) {
	t.Parallel()
	redis, ours := bothSides(t)
	var shown [2][]string
	for i, side := range []*talker{redis, ours} {
		for _, line := range strings.Split(`ACL SETUSER v on >p ~a* +exists +multi +discard +acl
AUTH v wrong
auth v wrong
AUTH v wrong
HELLO 2 AUTH nosuch x
AUTH v p
PING
PING
EXISTS b
EXISTS a b c
TTL a
EXISTS b
MULTI
EXISTS b
PING
DISCARD
CONFIG GET x
EXISTS a
EXISTS
NOSUCH
ACL NOSUCH`, "\n") {
			side.say(strings.Fields(line)...)
		}
		for _, log := range []string{side.say("ACL", "LOG", "2"), side.say("ACL", "LOG", "0"), side.say("ACL", "LOG")} {
			text := "of " + fmt.Sprint(strings.Count(log, `"count"`)) + ":"
			for _, entry := range strings.Split(log, `"count" `)[1:] {
				entry, _, _ = strings.Cut(entry, ` "age-seconds"`)
				text += "\n" + entry
			}
			shown[i] = append(shown[i], text)
		}
		fields := 7
		if side == ours {
			fields = 10
		}
		newest := side.say("ACL", "LOG", "1")
		for _, field := range []string{"count", "reason", "context", "object", "username", "age-seconds", "client-info", "entry-id", "timestamp-created", "timestamp-last-updated"}[:fields] {
			if !strings.Contains(newest, `"`+field+`"`) {
				t.Errorf("no field %s in %s", field, newest)
			}
		}
		if !strings.Contains(newest, "cmd=") || !strings.Contains(newest, "user=v") {
			t.Errorf("no client in %s", newest)
		}
	}
	for i := range shown[0] {
		if shown[0][i] != shown[1][i] {
			t.Errorf("Redis\n%s\nndring\n%s", shown[0][i], shown[1][i])
		}
	}
}
