package protocol

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
)

// exchange is a command, its words separated by blanks, and its reply in the format of resptest.Render. $A
// and $B stand for arrays.
type exchange struct{ command, want string }

var (
	arrayA = npy("<f4", "(2, 3)", strings.Repeat("abcd", 6))
	arrayB = npy("|u1", "(3,)", "xyz")
)

func (c *client) talk(exchanges []exchange) {
	c.t.Helper()
	arrays := strings.NewReplacer("$A", arrayA, "$B", arrayB)
	for _, e := range exchanges {
		var args []string
		for _, word := range strings.Fields(e.command) {
			args = append(args, arrays.Replace(word))
		}
		c.want(arrays.Replace(e.want), args...)
	}
}

func TestArrayCommands(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	c.talk([]exchange{
		{"NP.GET k", `$nil`},
		{"NP.SHAPE k", `$nil`},
		{"NP.DTYPE k", `$nil`},
		{"NP.META k", `$nil`},
		{"NP.VERIFY k", `$nil`},
		{"NP.SET k $A", `+OK`},
		{"np.get k", `"$A"`},
		{"NP.SHAPE k", `[:2 :3]`},
		{"NP.DTYPE k", `"<f4"`},
		{"NP.VERIFY k", `+OK`},
		{"TYPE k", `+ndarray`},
		{"TYPE nothing", `+none`},
		{"NP.SET k $B WITHVERSION", `"7-2"`},
		{"NP.GET k IFNEWER 7-1", `"$B"`},
		{"NP.GET k IFNEWER 7-2", `+NOTMODIFIED`},
		{"NP.GET k IFNEWER 8-0", `+NOTMODIFIED`},
		{"NP.GET k ifnewer 6-99 withattrs", fmt.Sprintf(`["$B" $nil "7-2" :%d []]`, checksum(arrayB))},
		{"NP.GET nothing IFNEWER 1-1", `$nil`},
		{"NP.GET k IFNEWER 7", `-ERR syntax error: "7" is not a version such as 1764012345678-17`},
		{"NP.GET k IFNEWER", `-ERR syntax error`},
		{"NP.GET k WITHATTRS WITHATTRS", `-ERR syntax error`},
		{"NP.GET k SOMETHING", `-ERR syntax error`},
		{"NP.GET", `-ERR wrong number of arguments for 'np.get' command`},
		{"NP.SET k", `-ERR wrong number of arguments for 'np.set' command`},
		{"NP.SET {t}a $A", `+OK`},
		{"NP.MSET {t}a $B {t}b $A", `+OK`},
		{"NP.MGET {t}a {t}none {t}b", `["$B" $nil "$A"]`},
		{"NP.MGET {t}a other", `-CROSSSLOT Keys in request don't hash to the same slot`},
		{"NP.MSET {t}a $B other $A", `-CROSSSLOT Keys in request don't hash to the same slot`},
		{"NP.MSET {t}a $B {t}b", `-ERR wrong number of arguments for 'np.mset' command`},
		{"NP.MSET {t}a $A {t}b garbage", `-BADNPY key "{t}b": not a valid .npy file: it does not begin with \x93NUMPY`},
		{"NP.GET {t}a", `"$B"`},
		{"NP.EXISTS {t}a {t}b {t}c {t}a", `:3`},
		{"NP.DEL {t}a {t}b {t}c", `:2`},
		{"DEL k", `:1`},
		{"DBSIZE", `:0`},
	})
}

func TestSetOptions(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	crc := crc32c.Update(checksum(arrayA), []byte(`{"a":1}maskMMM`))
	c.talk([]exchange{
		{"NP.SET k $A XX", `$nil`},
		{"NP.SET k $A NX WITHVERSION", `"7-1"`},
		{"NP.SET k $B NX", `$nil`},
		{"NP.SET k $B IFVERSION 7-9", `$nil`},
		{"NP.SET k $B IFVERSION 7-1", `+OK`},
		{"NP.SET k $A NX XX", `-ERR syntax error`},
		{"NP.SET k $A NX NX", `-ERR syntax error`},
		{"NP.SET k $A EX 1 PX 1", `-ERR syntax error`},
		{"NP.SET k $A EX", `-ERR syntax error`},
		{"NP.SET k $A EX 0", `-ERR invalid expire time in 'np.set' command`},
		{"NP.SET k $A EX -1", `-ERR invalid expire time in 'np.set' command`},
		{"NP.SET k $A EX 9223372036854775807", `-ERR invalid expire time in 'np.set' command`},
		{"NP.SET k $A PX 9223372036854775807", `-ERR invalid expire time in 'np.set' command`},
		{"NP.SET k $A EX ten", `-ERR value is not an integer or out of range`},
		{"NP.SET k $A IFVERSION x", `-ERR syntax error: "x" is not a version such as 1764012345678-17`},
		{"NP.SET k $A WC SOME", `-ERR syntax error`},
		{"NP.SET k $A NOSUCH", `-ERR syntax error`},
		{"NP.SET k $A CRC32C 1", fmt.Sprintf(`-CORRUPT the bytes differ from their CRC32C on arrival: the sender computed 1, the bytes have %d`, checksum(arrayA))},
		{"NP.SET k $A CRC32C 4294967296", `-ERR CRC32C value is not an integer or out of range`},
		{"NP.SET k $A ATTRS [1]", `-ERR attrs are not a JSON object in UTF-8`},
		{`NP.SET k $A ATTRS {"a"`, `-ERR attrs are not a JSON object in UTF-8`},
		{"NP.SET k $A PART a x PART a y", `-ERR invalid part name: "a" is used twice`},
		{"NP.SET k $A PART A x", `-ERR invalid part name: "A" has characters other than a-z 0-9 _ -`},
		{"NP.SET k $A PART a", `-ERR syntax error`},
		{"NP.SET k $A PART a 1 PART b 2 PART c 3 PART d 4 PART e 5", `-TOOLARGE too large: more than 4 parts`},
		{"NP.GET k", `"$B"`},
		{fmt.Sprintf(`NP.SET k $A ATTRS {"a":1} PART mask MMM CRC32C %d WC ALL WITHVERSION`, crc), `"7-3"`},
		{"NP.GET k WITHATTRS", fmt.Sprintf(`["$A" "{"a":1}" "7-3" :%d ["mask" "MMM"]]`, crc)},
		{"NP.VERIFY k", `+OK`},
		{"NP.META k", fmt.Sprintf(`["shape" [:2 :3] "dtype" "<f4" "fortran_order" :0 "itemsize" :4 "size" :6 "nbytes" :24 "npy_bytes" :%d`+
			` "data_offset" :%d "crc32c" :%d "pttl" :-1 "version" "7-3" "attrs" "{"a":1}" "parts" ["mask" :3]]`, len(arrayA), len(arrayA)-24, crc)},
		{"NP.SET r $A NX REQID one WITHVERSION", `"7-1"`},
		{"NP.SET r $A NX REQID one WITHVERSION", `"7-1"`},
		{"NP.SET r $A NX REQID two WITHVERSION", `$nil`},
		{"NP.SET r $A REQID " + strings.Repeat("i", 65), `-ERR a REQID has 1 to 64 bytes, not 65`},
	})
	c.want(`-TOOLARGE too large: attrs have 65537 bytes, the limit is 65536`, "NP.SET", "k", arrayA, "ATTRS", `{"a":"`+strings.Repeat("x", 64<<10-7)+`"}`)
	c.want(`+OK`, "NP.SET", "k", arrayA, "ATTRS", `{"a":"`+strings.Repeat("x", 64<<10-8)+`"}`)
	c.want(`-ERR syntax error`, "NP.SET", "k", arrayA, "EX", strings.Repeat("1", 20<<10))
	c.want(`-ERR syntax error`, "NP.SET", "k", arrayA, strings.Repeat("N", 20<<10))
	c.want(`-ERR a key must not be empty`, "NP.SET", "", arrayA)
	c.want(`+OK`, "NP.SET", strings.Repeat("k", 64<<10-1), arrayA)
	c.want(`-TOOLARGE too large: a key of 65536 bytes, the limit is 65535`, "NP.SET", strings.Repeat("k", 64<<10), arrayA)
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	now := s.now.Load()
	c.talk([]exchange{
		{"TTL k", `:-2`},
		{"NP.SET k $A", `+OK`},
		{"NP.TTL k", `:-1`},
		{"PEXPIRE k 1500", `:1`},
		{"TTL k", `:2`},
		{"NP.PTTL k", `:1500`},
		{"PEXPIRETIME k", fmt.Sprintf(":%d", now+1500)},
		{"EXPIRETIME k", fmt.Sprintf(":%d", (now+1500+500)/1000)},
		{"NP.PERSIST k", `:1`},
		{"PERSIST k", `:0`},
		{"EXPIRE k 10 XX", `:0`},
		{"EXPIRE k 10 NX", `:1`},
		{"EXPIRE k 5 GT", `:0`},
		{"EXPIRE k 5 LT", `:1`},
		{"EXPIRE k 5 NX GT", `-ERR NX and XX, GT or LT options at the same time are not compatible`},
		{"EXPIRE k 5 GT LT", `-ERR GT and LT options at the same time are not compatible`},
		{"EXPIRE k 5 SOON", `-ERR Unsupported option SOON`},
		{"EXPIRE k x", `-ERR value is not an integer or out of range`},
		{"EXPIRE k 9223372036854775807", `-ERR invalid expire time in 'expire' command`},
		{"NP.EXPIRE none 5", `:0`},
		{"NP.SET k $B KEEPTTL", `+OK`},
		{"PTTL k", `:5000`},
		{"NP.SET k $B", `+OK`},
		{"PTTL k", `:-1`},
		{"NP.SET k $B PX 100", `+OK`},
		{fmt.Sprintf("EXPIREAT k %d", now/1000+1), `:1`},
		{fmt.Sprintf("PEXPIREAT k %d", now+100), `:1`},
	})
	s.now.Store(now + 99)
	c.talk([]exchange{{"NP.GET k", `"$B"`}, {"PTTL k", `:1`}, {"EXISTS k", `:1`}})
	s.now.Store(now + 100)
	c.talk([]exchange{
		{"NP.GET k", `$nil`}, {"PTTL k", `:-2`}, {"EXISTS k", `:0`}, {"NP.SHAPE k", `$nil`}, {"DEL k", `:0`}, {"NP.SET k $A XX", `$nil`},
		{"NP.SET k $A NX", `+OK`},
		{"EXPIRE k 0", `:1`},
		{"EXISTS k", `:0`},
		{fmt.Sprintf("NP.SET k $A EXAT %d", now/1000-1), `+OK`},
		{"EXISTS k", `:0`},
	})
}

func TestRESP3(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	c.talk([]exchange{
		{"HELLO 3 SETNAME me", `{"server" "ndring" "version" "` + redisVersion + `" "proto" :3 "id" :1 "mode" "cluster" "role" "master" "modules" []}`},
		{"CLIENT GETNAME", `"me"`},
		{"NP.GET k", `nil`},
		{"NP.SET k $A", `+OK`},
		{"NP.META k", fmt.Sprintf(`{"shape" [:2 :3] "dtype" "<f4" "fortran_order" :0 "itemsize" :4 "size" :6 "nbytes" :24 "npy_bytes" :%d`+
			` "data_offset" :%d "crc32c" :%d "pttl" :-1 "version" "7-1" "attrs" nil "parts" []}`, len(arrayA), len(arrayA)-24, checksum(arrayA))},
		{"NP.GET k WITHATTRS", fmt.Sprintf(`["$A" nil "7-1" :%d []]`, checksum(arrayA))},
		{"HELLO 4", `-NOPROTO unsupported protocol version`},
		{"HELLO x", `-ERR Protocol version is not an integer or out of range`},
		{"HELLO 2", `["server" "ndring" "version" "` + redisVersion + `" "proto" :2 "id" :1 "mode" "cluster" "role" "master" "modules" []]`},
		{"NP.GET none", `$nil`},
		{"HELLO 2 AUTH default any", `["server" "ndring" "version" "` + redisVersion + `" "proto" :2 "id" :1 "mode" "cluster" "role" "master" "modules" []]`},
		{"HELLO 3 AUTH someone any", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"HELLO 3 WHAT", `-ERR Syntax error in HELLO option 'WHAT'`},
		{"NP.GET none", `$nil`},
	})
	if got := c.do("INFO", "cluster"); !strings.HasPrefix(got, "\"# Cluster\r\ncluster_enabled:1\r\ncluster_state:ok\r\n") {
		t.Errorf("INFO cluster: %q", got)
	}
	c.do("HELLO", "3")
	if got := c.do("INFO", "cluster"); !strings.HasPrefix(got, "=txt:# Cluster\r\ncluster_enabled:1\r\ncluster_state:ok\r\n") {
		t.Errorf("INFO cluster: %q", got)
	}
}

func TestConnectionCommands(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.talk([]exchange{
		{"PING", `+PONG`},
		{"ping hello", `"hello"`},
		{"PING a b", `-ERR wrong number of arguments for 'ping' command`},
		{"ECHO hello", `"hello"`},
		{"ECHO", `-ERR wrong number of arguments for 'echo' command`},
		{"SELECT 0", `+OK`},
		{"SELECT 1", `-ERR SELECT is not allowed in cluster mode`},
		{"SELECT x", `-ERR value is not an integer or out of range`},
		{"CLIENT ID", `:1`},
		{"CLIENT GETNAME", `$nil`},
		{"CLIENT SETNAME worker-1", `+OK`},
		{"CLIENT GETNAME", `"worker-1"`},
		{"CLIENT SETINFO LIB-NAME redis-py", `+OK`},
		{"CLIENT SETINFO LIB-COLOUR red", `-ERR Unrecognized option 'LIB-COLOUR'`},
		{"CLIENT", `-ERR wrong number of arguments for 'client' command`},
		{"CLIENT NOSUCH", `-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.`},
		{"GET k", `-ERR unknown command 'GET', with args beginning with: 'k' (ndring has NP.GET: see docs/commands.md)`},
		{"sEtEx k", `-ERR unknown command 'sEtEx', with args beginning with: 'k' (ndring has NP.SET with EX: see docs/commands.md)`},
		{"LPUSH k", `-ERR unknown command 'LPUSH', with args beginning with: 'k' (ndring stores NumPy arrays, with NP.SET and NP.GET: see docs/commands.md)`},
		{"NOSUCH", `-ERR unknown command 'NOSUCH', with args beginning with: (ndring stores NumPy arrays, with NP.SET and NP.GET: see docs/commands.md)`},
	})
	c.want(`-ERR Client names cannot contain spaces, newlines or special characters.`, "CLIENT", "SETNAME", "a b")
	c.want(`-ERR unknown command 'a  b', with args beginning with: (ndring stores NumPy arrays, with NP.SET and NP.GET: see docs/commands.md)`, "a\r\nb")
	c.send("PING\r\nECHO \"two words\" \n*1\r\n$4\r\nPING\r\n")
	for _, want := range []string{"+PONG", `"two words"`, "+PONG"} {
		if got := c.reply(); got != want {
			t.Errorf("inline: got %q, want %q", got, want)
		}
	}
	c.want(`+OK`, "QUIT")
	if rest := c.closed(); rest != "" {
		t.Errorf("after QUIT got %q", rest)
	}
}

func TestClusterCommands(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	host, port, _ := strings.Cut(s.addr, ":")
	c.talk([]exchange{
		{"CLUSTER MYID", `"` + selfID + `"`},
		{"CLUSTER KEYSLOT foo", `:12182`},
		{"CLUSTER SLOTS", fmt.Sprintf(`[[:0 :16383 ["%s" :%s "%s" []]]]`, host, port, selfID)},
	})
	c.want(fmt.Sprintf("\"%s %s@0 myself,master - 0 0 7 connected 0-16383\n\"", selfID, s.addr), "CLUSTER", "NODES")
	if got := c.do("CLUSTER", "INFO"); !strings.Contains(got, "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n") {
		t.Errorf("CLUSTER INFO: %q", got)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	topo := *s.topo.Load()
	topo.Nodes = append(topo.Nodes[:1:1], topology.Node{ID: otherID, Listeners: map[string]topology.Address{"default": {Host: "10.0.0.9", Port: 7000}}})
	topo.Shards = append([]topology.Shard(nil), topo.Shards...)
	topo.Shards[topo.ShardOf(12182)] = topology.Shard{Epoch: 8, Primary: otherID, ISR: []topology.NodeID{otherID}} // the slot of "foo"
	s.follow(t, &topo)
	host, port, _ := strings.Cut(s.addr, ":")
	c.talk([]exchange{
		{"NP.SET foo $A", `-MOVED 12182 10.0.0.9:7000`},
		{"NP.GET foo", `-MOVED 12182 10.0.0.9:7000`},
		{"NP.SET bar $A", `+OK`},
		{"CLUSTER SLOTS", fmt.Sprintf(`[[:0 :12159 ["%[1]s" :%[2]s "%[3]s" []]] [:12160 :12223 ["10.0.0.9" :7000 "%[4]s" []]] [:12224 :16383 ["%[1]s" :%[2]s "%[3]s" []]]]`,
			host, port, selfID, otherID)},
	})
	unreachable := topo
	unreachable.Nodes = append(topo.Nodes[:1:1], topology.Node{ID: otherID, Listeners: map[string]topology.Address{"elsewhere": {Host: "10.0.0.9", Port: 7000}}})
	s.follow(t, &unreachable)
	c.talk([]exchange{
		{"NP.GET foo", `-CLUSTERDOWN Hash slot 12182 is served by node ` + otherID + `, which advertises no address for the listener "default"`},
		{"CLUSTER SLOTS", fmt.Sprintf(`[[:0 :12159 ["%[1]s" :%[2]s "%[3]s" []]] [:12224 :16383 ["%[1]s" :%[2]s "%[3]s" []]]]`, host, port, selfID)},
	})
}

func TestServerCommands(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Version: "1.2.3"})
	c := s.dial(t)
	c.talk([]exchange{
		{"NP.SET a $A", `+OK`}, {"NP.SET b $A PX 5", `+OK`}, {"NP.GET a", `"$A"`}, {"NP.GET a", `"$A"`}, {"NP.GET none", `$nil`},
		{"DBSIZE", `:2`},
		{"FLUSHDB NOW", `-ERR syntax error`},
	})
	for _, field := range []string{
		"ndring_version:1.2.3", "cluster_enabled:1", "connected_clients:1", "keyspace_hits:2", "keyspace_misses:1", "role:master",
		"db0:keys=2,expires=1,avg_ttl=5", "total_error_replies:", "redis_version:",
	} {
		if got := c.do("INFO"); !strings.Contains(got, "\r\n"+field) {
			t.Errorf("INFO lacks %s:\n%s", field, got)
		}
	}
	if got := c.do("INFO", "keyspace", "clients"); strings.Contains(got, "# Server") || !strings.Contains(got, "# Clients") {
		t.Errorf("INFO keyspace clients: %q", got)
	}
	c.talk([]exchange{{"FLUSHALL ASYNC", `+OK`}, {"DBSIZE", `:0`}})
}

func TestClientList(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	a, b := s.dial(t), s.dial(t)
	a.talk([]exchange{
		{"CLIENT SETNAME first", `+OK`}, {"CLIENT SETINFO LIB-NAME lib", `+OK`}, {"CLIENT SETINFO LIB-VER 1.5", `+OK`},
		{"CLIENT NO-EVICT on", `+OK`}, {"CLIENT NO-TOUCH OFF", `+OK`}, {"CLIENT NO-TOUCH maybe", `-ERR syntax error`},
		{"CLIENT LIST TYPE odd", `-ERR Unknown client type 'odd'`}, {"CLIENT LIST ID x", `-ERR Invalid client ID`}, {"CLIENT LIST ID", `-ERR syntax error`},
		{"CLIENT LIST TYPE pubsub", `""`}, {"CLIENT LIST ID 99", `""`}, {"NP.GET k", `$nil`},
	})
	b.do("HELLO", "3")
	list := b.do("CLIENT", "LIST")
	for _, want := range []string{
		"id=1 addr=" + a.LocalAddr().String() + " laddr=" + s.addr + " fd=", "cmd=np.get user=default redir=-1 resp=2 lib-name=lib lib-ver=1.5\n",
		"id=2 addr=" + b.LocalAddr().String(), "cmd=client|list user=default redir=-1 resp=3 lib-name= lib-ver=\n",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("CLIENT LIST lacks %q:\n%s", want, list)
		}
	}
	if got := a.do("CLIENT", "INFO"); !strings.HasPrefix(got, `"id=1 `) || strings.Count(got, "\n") != 1 {
		t.Errorf("CLIENT INFO: %s", got)
	}
	if got := a.do("CLIENT", "LIST", "ID", "2", "7"); !strings.HasPrefix(got, `"id=2 `) || strings.Count(got, "\n") != 1 {
		t.Errorf("CLIENT LIST ID: %s", got)
	}
}

func TestPipeline(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	const n = 5000
	var b strings.Builder
	for i := range n {
		b.WriteString(encode("NP.SET", fmt.Sprint("k", i), npy("|u1", "(4,)", fmt.Sprintf("%04d", i))))
		b.WriteString(encode("NP.GET", fmt.Sprint("k", i)))
	}
	go io.WriteString(c, b.String()) // an error shows as a missing reply
	for i := range n {
		if got := c.reply(); got != "+OK" {
			t.Fatalf("set %d: %q", i, got)
		}
		if got, want := c.reply(), `"`+npy("|u1", "(4,)", fmt.Sprintf("%04d", i))+`"`; got != want {
			t.Fatalf("get %d: %q, want %q", i, got, want)
		}
	}
}

// A client that sends a whole pipeline before it reads a reply must not deadlock with the server.
func TestPipelineThatIsSentWholeBeforeItIsRead(t *testing.T) {
	t.Parallel()
	c := start(t, Config{MaxReplyBytes: 256 << 20}).dial(t)
	array := bytesNPY(1<<20, "big")
	c.want("+OK", "NP.SET", "k", array)
	const n = 16 // more than the sockets buffer
	c.send(strings.Repeat(encode("NP.GET", "k"), n) + strings.Repeat(encode("NP.SET", "l", array), n))
	for range n {
		if c.reply() != `"`+array+`"` {
			t.Fatal("a reply differs from what was stored")
		}
	}
	for range n {
		if got := c.reply(); got != "+OK" {
			t.Fatal(got)
		}
	}
}

func checksum(s string) uint32 { return crc32c.Checksum([]byte(s)) }

func TestManyKeys(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	args := []string{"EXISTS"}
	for i := range 60_000 {
		args = append(args, "{t}"+strconv.Itoa(i))
	}
	c.want("+OK", "NP.SET", "{t}59999", arrayA)
	c.want(":1", args...)
}

func TestSlice(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "NP.SET", "k", npy("|S4", "(2, 3)", "abcdefghijklmnopqrstuvwx"))
	want := func(got, shape, data string) {
		t.Helper()
		if !strings.Contains(got, "'shape': "+shape) || !strings.HasSuffix(got, "\n"+data+`"`) {
			t.Errorf("%q is not %s %s", got, shape, data)
		}
	}
	want(c.do("NP.SLICE", "k", "1:,::2"), "(1, 2,)", "mnopuvwx")
	want(c.do("NP.SLICE", "k", "::-1"), "(2, 3,)", "mnopqrstuvwxabcdefghijkl")
	c.want("$nil", "NP.SLICE", "none", ":")
	c.want("-BOUNDS invalid slice: it has 3 axes, the array has 2", "NP.SLICE", "k", ":,:,:")
	c.want("-ERR invalid slice: the step must not be 0", "NP.SLICE", "k", "::0")
	c.want("-ERR syntax error", "NP.SLICE", "k", ":", "WITHATTR")
	c.want("-ERR syntax error", "NP.SLICE", "k", ":", "WITHATTRS", "WITHATTRS")
	c.want("+OK", "NP.SET", "attrs", npy("|S4", "(2, 3)", "abcdefghijklmnopqrstuvwx"), "ATTRS", `{"v": 1}`)
	for _, command := range [][]string{{"NP.SLICE", "attrs", "1:,:1", "WITHATTRS"}, {"NP.TAKE", "attrs", "1", "2,0", "withattrs"}} {
		if got := c.do(command...); !strings.HasPrefix(got, `["`+"\x93NUMPY") || !strings.Contains(got, `" "{"v": 1}" "`) {
			t.Errorf("%v: %q", command, got)
		}
	}
	want(c.do("NP.TAKE", "k", "0", "1,0,-1"), "(3, 3,)", "mnopqrstuvwxabcdefghijklmnopqrstuvwx")
	want(c.do("NP.TAKE", "k", "-1", "2"), "(2, 1,)", "ijkluvwx")
	c.want("$nil", "NP.TAKE", "none", "0", "0")
	c.want("-BOUNDS index out of bounds: 2, and axis 0 has 2 elements", "NP.TAKE", "k", "0", "1,2")
	c.want(`-ERR invalid indices: "1x" is not an integer`, "NP.TAKE", "k", "0", "1x")
	c.want("-BOUNDS invalid indices: 2 is not an axis of an array with 2 axes", "NP.TAKE", "k", "2", "0")
	c.want("-ERR syntax error", "NP.TAKE", "k", "0", "0", "WITH")
	large := bytesNPY(1<<20, "")
	c.want("+OK", "NP.SET", "k", large)
	if got := c.do("NP.TAKE", "k", "0", strings.Repeat("7,", array.MaxIndices)+"7"); !strings.HasPrefix(got, "-ERR invalid indices: there are") {
		t.Errorf("%.100q", got)
	}
	if got := c.do("NP.TAKE", "k", "0", strings.Repeat("-1048000, ", array.MaxIndices-1)+"7"); len(got) < array.MaxIndices {
		t.Errorf("%.100q", got)
	}
	c.want("-TOOLARGE too large: an argument of 2097153 bytes, the limit here is 2097152", "NP.TAKE", "k", "0", strings.Repeat("7", 1<<21+1))
	if got := c.do("NP.SLICE", "k", "1000:500000"); len(got) < 499_000 || got[len(got)-499_001:len(got)-1] != large[len(large)-1<<20+1000:len(large)-1<<20+500_000] {
		t.Errorf("%d bytes", len(got))
	}
}
