package ndctl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// All commands on a healthy cluster.
func TestCommandsOnACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	npy := file(t, npyOf(12))
	big := file(t, npyOf(5000))
	for _, key := range []string{"a", "b"} {
		if r := c.run(c.env(), "put", key, npy); r.code != 0 {
			t.Fatalf("put: %+v", r)
		}
	}
	for _, tc := range []struct {
		args string
		code int
		out  []string
		err  []string
	}{
		{"status", 0, []string{"cluster UUID\nhealth ok\nnodes 3 of 3 up\nshards 16 of 16 served\nleader n", ", 3 voters, quorum\nkeys 2\nmemory SIZE\n"}, nil},
		{"nodes", 0, []string{" NAME ID ADDRESS STATE ROLE SHARDS REPLICAS BEHIND KEYS MEMORY UP FOR VERSION\n* n1 40b3eab6 @n1 up ", "\n n2 40243476 @n2 up ", " SIZE TIME 1.2.3-test\n", "!down", " leader ", " voter "}, nil},
		{"nodes extra", 2, nil, []string{"ndctl: nodes takes no arguments, not 1 argument\nTry 'ndctl nodes --help'\n"}},
		{"shards", 0, []string{"SHARD SLOTS STATE PRIMARY IN SYNC ASSIGNED EPOCH\n 0 0-1023 served n", "\n 15 15360-16383 served n", "!vacant"}, nil},
		{"shards --unserved", 0, []string{"SHARD SLOTS STATE PRIMARY IN SYNC ASSIGNED EPOCH\n", "!served"}, nil},
		{"shards --node n2", 0, []string{" served n2 n2,"}, nil},
		{"shards --node n9", 1, nil, []string{`ndctl: unknown node "n9"; the nodes are n1 (40b3eab6), n2 (40243476), n3 (26c2ce28)`}},
		{"shards --node n", 1, nil, []string{`ndctl: "n" is ambiguous: n1 (40b3eab6), n2 (40243476), n3 (26c2ce28)`}},
		{"shards --node", 2, nil, []string{"ndctl: flag needs an argument: --node"}},
		{"slot foo{bar}", 0, []string{"5061\n"}, nil},
		{"slot", 2, nil, []string{"ndctl: slot takes KEY, not 0 arguments"}},
		{"where a", 0, []string{"key a\nslot 15495\nshard 15\nprimary n", "\nreplicas n", "\nexists yes, does not expire\narray <f8 of shape (12,), SIZE\nversion EPOCH-"}, nil},
		{"where nothing", 0, []string{"exists no\n"}, nil},
		{"get a -o -", 0, []string{"\x93NUMPY"}, nil},
		{"get a", 2, nil, []string{"ndctl: get needs -o FILE"}},
		{"get nothing -o -", 1, nil, []string{`ndctl: key "nothing" does not exist`}},
		{"get a -o /no/such/f.npy", 1, nil, []string{"ndctl: open /no/such/f.npy: no such file or directory\n"}},
		{"put a " + npy + " --nx", 1, nil, []string{`ndctl: nothing was stored: key "a" already exists (--nx)`}},
		{"put c " + npy + " --xx", 1, nil, []string{`ndctl: nothing was stored: key "c" does not exist (--xx)`}},
		{"put c " + npy + " --xx --nx", 2, nil, []string{"--nx and --xx exclude each other"}},
		{"put c " + npy + " --ex soon", 2, nil, []string{`ndctl: --ex "soon" is not a time to live`}},
		{"put c " + npy + " --ex -1", 2, nil, []string{`is not a time to live`}},
		{"put c nosuch.npy", 1, nil, []string{"ndctl: open nosuch.npy: no such file"}},
		{"put c live_test.go", 1, nil, []string{"ndctl: live_test.go: not a valid .npy file: it does not begin with"}},
		{"put big " + big + " --ex 90m", 0, []string{""}, nil},
		{"where big", 0, []string{"exists yes, expires in 1h"}, nil},
		{"bigkeys -n 1", 0, []string{"MEMORY NODE DTYPE SHAPE KEY\nSIZE n", " <f8 (5000,) big\n\n3 keys scanned\n"}, nil},
		{"bigkeys --match a*", 0, []string{"1 key scanned"}, nil},
		{"bigkeys -n 0", 2, nil, []string{"--count and --max-keys must be at least 1"}},
		{"bigkeys -n x", 2, nil, []string{`ndctl: --count "x" is not a number`, "Try 'ndctl bigkeys --help'"}},
		{"slots", 0, []string{"SLOTS COUNT NODE KEYS MEMORY\n0-", "16383 ", " n1 ", " n2 ", " n3 ", "! none "}, nil},
		{"slots --node n1", 0, []string{" n1 ", "! n2 "}, nil},
		{"raft status", 0, []string{"voters n1, n2, n3; 3 of 3 up, majority 2\nquorum yes\n\nNODE ROLE TERM APPLIED FOLLOWS HEARS IT FAILED WAITS FOR\nn1 ", " yes ", "! none "}, nil},
		{"raft", 2, []string{"Available Commands:"}, nil},
		{"raft state", 2, nil, []string{`ndctl: unknown command "raft state": did you mean status?`, "Try 'ndctl raft --help'"}},
		{"raft recover", 2, nil, []string{"ndctl: raft recover needs --dir FOLDER"}},
		{"raft recover --dir " + c.folder(0), 1, nil, []string{"another process uses"}},
		{"raft rejoin", 2, nil, []string{"ndctl: raft rejoin needs --dir FOLDER"}},
		{"raft rejoin --alone --member --dir " + c.folder(0), 2, nil, []string{"at most one of --alone and --member"}},
		{"raft rejoin --dir " + c.folder(0), 1, nil, []string{"another process uses"}},
		{"config get max-array-bytes", 0, []string{"SETTING VALUE NODES\nmax-array-bytes 536870912 all\n"}, nil},
		{"config get max-array-bytes --node n2", 0, []string{"max-array-bytes 536870912 n2\n"}, nil},
		{"config get nosuch", 1, nil, []string{"ndctl: no setting matches nosuch"}},
		{"config get", 2, nil, []string{"config get takes PATTERN..., not 0 arguments"}},
		{"config get x --node n1 --cluster", 2, nil, []string{"--node and --cluster exclude each other"}},
		{"config set maxclients 77 --node n2", 0, []string{"n2: OK\n"}, nil},
		{"config get maxclients", 0, []string{"maxclients 10000 n1,n3\nmaxclients 77 n2\n"}, nil},
		{"config set maxclients 78", 0, []string{"n1: OK\n"}, nil},
		{"config set maxclients", 2, nil, []string{"config set takes NAME VALUE"}},
		{"config set maxclients 1 timeout", 2, nil, []string{"config set takes a value for each name"}},
		{"config set nosuch 1", 1, nil, []string{"ndctl: n1 (@n1): ERR ", "nosuch"}},
		{"config set maxclients 1 --addr 127.0.0.1:1 --addr " + c.ports[0], 2, nil, []string{"choose the node with --node or --cluster"}},
		{"config reset maxclients", 2, nil, []string{"config reset needs --cluster"}},
		{"config set slowlog-log-slower-than 0 --node n3", 0, []string{"n3: OK"}, nil},
		{"slowlog", 0, []string{"TIME NODE TOOK CLIENT COMMAND\n", " n3 ", "CONFIG SET slowlog-log-slower-than 0"}, nil},
		{"slowlog -n 0", 2, nil, []string{"--count must be at least 1"}},
		{"top --interval 10ms", 0, []string{"NODE OPS/S KEYS MEMORY IN/S OUT/S HITS CLIENTS\nn1 ", "\nn2 ", "\nn3 ", "!\x1b"}, nil},
		{"top --interval often", 2, nil, []string{`ndctl: --interval "often" is not a duration, such as `}},
		{"top --interval 0s", 2, nil, []string{"--interval must be at least 1ms"}},
		{"join 127.0.0.1:7946", 1, nil, []string{"n1 is already a member of a cluster of 3 nodes", "\n ndring --node-id NAME --dir FOLDER --shards 16 --join 127.0.0.1:7946\n"}},
		{"join nowhere", 2, nil, []string{"join takes HOST:GOSSIP-PORT"}},
		{"forget n2", 1, nil, []string{"ndctl: n2 is alive, as n1 sees it: let it leave (ndctl leave n2), or stop it first\n"}},
		{"forget n1 --yes", 1, nil, []string{"is alive: send it CLUSTER LEAVE, or stop it first"}},
		{"forget", 2, nil, []string{"forget takes NODE, not 0 arguments"}},
		{"forget nosuch --yes", 1, nil, []string{`unknown node "nosuch"`}},
		{"failover x", 2, nil, []string{`"x" is not the number of a shard`}},
		{"failover 99 --node n2", 1, nil, []string{"Invalid shard number: 99"}},
		{"failover --takeover", 2, nil, []string{"Promote the copies of n1, and lose what they lack?", "give --yes"}},
		{"failover --takeover --yes", 1, nil, []string{"the primaries of these shards are alive"}},
		{"leave", 2, nil, []string{"Let n1 leave the cluster?", "give --yes"}},
		{"leave n9 --yes", 1, nil, []string{`unknown node "n9"`}},
		{"leave --wait-timeout 0s", 2, nil, []string{"--wait-timeout must be positive"}},
		{"leave a b", 2, nil, []string{"leave takes [NODE], not 2 arguments"}},
		{"version", 0, []string{"ndctl 1.2.3-test\n"}, nil},
		{"version --json", 0, []string{"{\n \"version\": \"1.2.3-test\"\n}\n"}, nil},
		{"", 2, []string{"Usage:\n ndctl [command]", "Exit codes:\n 0 success"}, nil},
		{"stats", 2, nil, []string{`ndctl: unknown command "stats": did you mean slots or status?`}},
		{"help nosuch", 2, nil, []string{`ndctl: unknown command "nosuch"`}},
		{"help confg", 2, nil, []string{`ndctl: unknown command "confg": did you mean config?`}},
		{"help raft stat", 2, nil, []string{`ndctl: unknown command "raft stat": did you mean status?`}},
		{"help config set", 0, []string{"Usage:\n ndctl config set NAME VALUE"}, nil},
		{"help", 0, []string{"Usage:\n ndctl [command]"}, nil},
		{"--nosuch", 2, nil, []string{"ndctl: unknown flag: --nosuch\nTry 'ndctl --help'"}},
		{"status --timeout 0s", 2, nil, []string{"--timeout must be positive"}},
		{"status --addr ", 2, nil, []string{"ndctl: --addr is empty"}},
		{"status --addr a:b:c", 2, nil, []string{`--addr "a:b:c" is not HOST:PORT`}},
		{"status --password-file nosuch", 2, nil, []string{"--password-file: open nosuch"}},
		{"status --user bob", 2, nil, []string{"--user needs a password"}},
		{"completion", 2, nil, []string{"completion takes bash|zsh|fish|powershell"}},
		{"completion tcsh", 2, nil, []string{`unknown shell "tcsh"`}},
		{"completion bash", 0, []string{"__complete"}, nil},
		{"completion zsh", 0, []string{"#compdef ndctl"}, nil},
		{"completion fish", 0, []string{"complete -c ndctl"}, nil},
		{"__complete forget ", 0, []string{"n1 @n1\nn2 @n2\nn3 @n3\n:4\n"}, nil},
		{"__complete shards --node ", 0, []string{"n1 @n1\n"}, nil},
	} {
		args := strings.Split(tc.args, " ")
		if tc.args == "" {
			args = nil
		}
		r := c.run(c.env(), args...)
		out, said := c.plainly(r.out), c.plainly(r.err)
		if r.code != tc.code || !matches(out, tc.out...) || !matches(said, tc.err...) || tc.err == nil && said != "" && args[0] != "__complete" {
			t.Errorf("ndctl %s: exit code %d, want %d\nstandard output:\n%s\nstandard error:\n%s", tc.args, r.code, tc.code, r.out, r.err)
		}
	}
	checkFiles(t, c)
	checkJSON(t, c)
}

// put and get keep an array byte for byte, through files that exist already and through pipes.
func checkFiles(t *testing.T, c *testCluster) {
	path := filepath.Join(t.TempDir(), "out.npy")
	if err := os.WriteFile(path, []byte("something longer that was there before"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := runWith(t, c.env(), npyOf(7), "put", "piped", "-"); r.code != 0 {
		t.Errorf("put from a pipe: %+v", r)
	}
	if r := c.run(c.env(), "get", "piped", "-o", path); r.code != 0 || r.out != "" {
		t.Errorf("get: %+v", r)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != npyOf(7) {
		t.Errorf("the file has %q %v", got, err)
	}
	if r := c.run(c.env(), "get", "piped", "-o", "-"); r.out != npyOf(7) {
		t.Errorf("standard output has %q", r.out)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("the folder has %v %v", all, err)
	}
}

// --json writes JSON with documented fields only.
func checkJSON(t *testing.T, c *testCluster) {
	for _, args := range []string{
		"status", "nodes", "shards", "slots", "raft status", "top --interval 10ms", "bigkeys", "slowlog", "where a", "where nothing", "slot a", "config get max*", "config get * --cluster", "version",
	} {
		r := c.run(c.env(), append(strings.Fields(args), "--json")...)
		var value any
		if err := json.Unmarshal([]byte(r.out), &value); err != nil || r.code != 0 || r.err != "" {
			t.Errorf("ndctl %s --json: %v %+v", args, err, r)
			continue
		}
		command, _, err := emptyApp().tree().Find(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		known(t, args, "", value, documentedFields(command))
	}
	var nodes []nodeReport
	json.Unmarshal([]byte(c.run(c.env(), "nodes", "--json").out), &nodes)
	if len(nodes) != 3 || nodes[1].Name != "n2" || nodes[1].Address != c.ports[1] || *nodes[0].Keys+*nodes[1].Keys+*nodes[2].Keys != 4 {
		t.Errorf("nodes: %+v", nodes)
	}
}

// documentedFields returns the fields of a command's JSON.
func documentedFields(c *cobra.Command) map[string]bool {
	documented := map[string]bool{}
	for line := range strings.Lines(c.Annotations[jsonFields]) {
		name, _, _ := strings.Cut(line, "\t")
		documented[name] = true
	}
	return documented
}

func known(t *testing.T, command, at string, value any, documented map[string]bool) {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			if _, ok := v.(map[string]any); ok {
				known(t, command, at+"[]", v, documented)
			}
		}
	case map[string]any:
		for name, v := range value {
			path := strings.TrimPrefix(at+"."+name, ".")
			if !documented[path] {
				t.Errorf("ndctl %s --json: %s is not documented", command, path)
			}
			known(t, command, path, v, documented)
		}
	}
}
