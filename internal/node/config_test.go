package node

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

func environment(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestConfigFromFlagsEnvironmentAndDefaults(t *testing.T) {
	defaults, err := ParseConfig(nil, environment(), "v")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Port: 7379, Bind: "127.0.0.1", HTTPPort: 7380, Shards: 256, Dir: "ndring-data", Logged: true, LogLevel: slog.LevelInfo, LogFormat: "text",
		Listen:  []ListenerConfig{{Name: "default", Address: "127.0.0.1:7379"}},
		Cluster: ClusterConfig{BusPort: 17379, GossipPort: 7946, Replicas: 2, EmptyShards: "auto", Moves: cluster.DefaultMoves, Weight: 100},
		TLS:     TLSConfig{ClientAuth: "no"},
		Server: protocol.Config{
			MaxArrayBytes: 512 << 20, MaxUploadBytes: 1 << 30, MinUploadRate: 256 << 10, UploadWait: 10 * time.Second, UploadStall: 30 * time.Second,
			MaxReplyBytes: 64 << 20, MaxOutputBytes: 1 << 30, ReplyStall: time.Minute, MaxClients: 10_000, ProtectedMode: true,
			SlowlogSlowerThan: 10 * time.Millisecond, SlowlogMaxLen: 128, TrackingTableMaxKeys: 1_000_000, Version: "v",
			Memory: shard.MemoryConfig{Policy: shard.NoEviction, Samples: 16, LFULogFactor: 10, LFUDecay: 1},
			Disk:   shard.DiskConfig{Fsync: shard.FsyncEverysec, Reserve: 128 << 20, ScrubRate: 4 << 20},
			Copies: shard.CopyConfig{Write: shard.ConcernSync, MinInSync: 1, MaxStaleness: time.Second},
		},
	}
	if !reflect.DeepEqual(defaults, want) {
		t.Errorf("defaults: %+v\nwant %+v", defaults, want)
	}
	env := environment("NDRING_PORT", "1", "NDRING_MAX_ARRAY_BYTES", "1k", "NDRING_BIND", "::1", "NDRING_LISTEN", "")
	given, err := ParseConfig([]string{"--port", "2", "--upload-stall=1m", "--log-level", "debug"}, env, "v")
	if err != nil {
		t.Fatal(err)
	}
	if given.Port != 2 || given.Server.MaxArrayBytes != 1000 || given.Server.UploadStall != time.Minute || given.LogLevel != slog.LevelDebug {
		t.Errorf("got %+v", given)
	}
	if given.Listen[0].Address != "[::1]:2" {
		t.Errorf("listens on %s", given.Listen[0].Address)
	}
	listeners, err := ParseConfig(nil, environment("NDRING_LISTEN", "internal=:7379,announce=node1:7379 host=:17001,announce=127.0.0.1:17001,tls=no c=:1,tls=yes,announce=c:1",
		"NDRING_TLS_CERT", "a", "NDRING_TLS_KEY", "b"), "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []ListenerConfig{
		{"internal", ":7379", "", topology.Address{Host: "node1", Port: 7379}},
		{"host", ":17001", "no", topology.Address{Host: "127.0.0.1", Port: 17001}},
		{"c", ":1", "yes", topology.Address{Host: "c", Port: 1}},
	}; !reflect.DeepEqual(listeners.Listen, want) {
		t.Errorf("listeners: %+v", listeners.Listen)
	}
	for i, want := range []bool{true, false, true} {
		if got := listeners.speaksTLS(listeners.Listen[i]); got != want {
			t.Errorf("listener %d: TLS is %v", i, got)
		}
	}
	again, err := ParseConfig([]string{"--tls-cert", "a", "--tls-key", "b", "--listen", getListen(listeners)}, environment(), "")
	if err != nil || !reflect.DeepEqual(again.Listen, listeners.Listen) {
		t.Errorf("%q: %v", getListen(listeners), err)
	}
}

func TestConfigOfACluster(t *testing.T) {
	parse := func(args string, env ...string) ClusterConfig {
		t.Helper()
		c, err := ParseConfig(strings.Fields(args), environment(env...), "")
		if err != nil {
			t.Fatal(err)
		}
		return c.Cluster
	}
	if c := parse("--port 7000"); c.BusPort != 17000 || c.GossipPort != 7946 {
		t.Errorf("--port 7000: %+v", c)
	}
	if c := parse("--port 0"); c.BusPort != 0 || c.GossipPort != 0 {
		t.Errorf("--port 0: %+v", c)
	}
	if c := parse("--port 0 --bus-port 5 --gossip-port 6"); c.BusPort != 5 || c.GossipPort != 6 {
		t.Errorf("explicit ports: %+v", c)
	}
	want := []string{"node1", "node2:8000", "[::1]:9", "10.0.0.1"}
	if c := parse("--join node1,node2:8000 --join [::1]:9 --join 10.0.0.1"); !reflect.DeepEqual(c.Join, want) {
		t.Errorf("--join: %q", c.Join)
	}
	if c := parse("", "NDRING_JOIN", "node1 node2:8000,[::1]:9 10.0.0.1", "NDRING_BOOTSTRAP_EXPECT", "3"); !reflect.DeepEqual(c.Join, want) || c.Expect != 3 {
		t.Errorf("the environment: %+v", c)
	}
}

func TestConfigErrorsNameTheSetting(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--port x", `"x" for --port: must be a number from 0 to 65535`},
		{"--port 70000", "must be a number from 0 to 65535"},
		{"--shards 100", "a power of two from 16 to 16384, not 100"},
		{"--max-array-bytes -1", "must be a size from"},
		{"--max-array-bytes 1zb", "must be a size from"},
		{"--max-array-bytes 99999999tb", "must be a size from"},
		{"--listen here", "must have the form NAME=ADDRESS:PORT"},
		{"--listen a=nowhere", `"nowhere" in place of HOST:PORT`},
		{"--listen a=:1,tell=b:1", `"tell=b:1" in place of tls=yes|no or announce=HOST:PORT`},
		{"--listen a=:1,announce=:1", "which no client can reach"},
		{"--listen a=:1 --listen a=:2", `two listeners named "a"`},
		{"--protected-mode maybe", "must be yes or no"},
		{"--log-format xml", "must be text or json"},
		{"--log-level verbose", `"verbose" for --log-level: must be one of the following: debug, info, warn, error`},
		{"--log-level info+2", "must be one of the following: debug, info, warn, error"},
		{"--listen a=:1,announce=0.0.0.0:7379", `announces "0.0.0.0:7379", which no client can reach: it means all addresses`},
		{"--listen a=:1,announce=[::]:7379", "which no client can reach: it means all addresses"},
		{"--listen a=:1,announce=a,b:7379", `has "a" in place of HOST:PORT`},
		{"--listen a=:1,announce=a:1,b:7379", `has "b:7379" in place of tls=yes|no or announce=HOST:PORT; one --listen announces one address`},
		{"--listen a=:1,announce=http://a:1", `has "http://a:1" in place of HOST:PORT`},
		{"--join http://x:1", `has the URL "http://x:1" in place of a gossip address HOST[:PORT]`},
		{"--join tcp://x", `has the URL "tcp://x"`},
		{"--bind 0.0.0.0", "with --bind 0.0.0.0 other machines reach the ports between nodes, and gossip has no key (--gossip-key-file) and the bus has no TLS (--bus-tls-cert, --bus-tls-key, --bus-tls-ca). " +
			"Give all nodes a certificate each and the same gossip key (ndctl certs init makes both; openssl rand -hex 32 makes a key)"},
		{"--bind 10.0.0.1 --gossip-key-file key", "other machines reach the ports between nodes, and the bus has no TLS ("},
		{"--bind 10.0.0.1 --bus-tls-cert a --bus-tls-key b --bus-tls-ca c", "other machines reach the ports between nodes, and gossip has no key (--gossip-key-file). Give"},
		{"--bus-tls-cert a --bus-tls-key b", "--bus-tls-cert, --bus-tls-key and --bus-tls-ca go together"},
		{"--bus-tls-ca a", "--bus-tls-cert, --bus-tls-key and --bus-tls-ca go together"},
		{"--dev 3 --bus-tls-cert a --bus-tls-key b --bus-tls-ca c", "it excludes --bus-tls-cert"},
		{"--bind=", "with --bind '' (all addresses) other machines reach the ports between nodes"},
		{"--bind node1 --insecure no", "or, in a network that you trust, --insecure (NDRING_INSECURE=yes)"},
		{"--bind :: --dev 3", "with --bind :: other machines reach the ports between nodes"},
		{"--insecure maybe", `unexpected argument "maybe"`},
		{"--upload-stall 5", "must be a positive duration such as 30s"},
		{"--node-id " + strings.Repeat("n", 65), "must have at most 64 characters"},
		{"--join host:0", "in place of HOST[:PORT]"},
		{"--join :7946", "in place of HOST[:PORT]"},
		{"--join a,b:x", `"b:x" in place of HOST[:PORT]`},
		{"--bootstrap-expect 256", "must be a number from 0 to 255"},
		{"--replicas 0", "must be a number from 1 to 5"},
		{"--bus-port 65536", "must be a number from 0 to 65535"},
		{"--port 60000", "leaves no room for --bus-port"},
		{"--dev 3 --join a", "--dev runs its own cluster"},
		{"--dev 3 --listen a=:0", "--dev excludes --listen"},
		{"--tls-cert a", "--tls-cert needs --tls-key"},
		{"--tls-key a", "--tls-key needs --tls-cert"},
		{"--tls-ca a", "--tls-ca needs --tls-cert and --tls-key"},
		{"--tls-cert a --tls-key b --tls-client-auth require", "--tls-client-auth require needs --tls-ca"},
		{"--tls-client-auth optional", "--tls-client-auth optional needs --tls-ca"},
		{"--tls-client-auth maybe", "must be no, optional or require"},
		{"--listen a=:1,tls=yes", "--listen a=:1 has tls=yes, which needs --tls-cert and --tls-key"},
		{"--listen a=:1,tls=maybe", `has "tls=maybe" in place of tls=yes|no or announce=HOST:PORT`},
		{"--listen a=:1,tls=no,tls=no", "has tls= twice"},
		{"--listen a=:1,announce=a:1,announce=b:1", "has announce= twice"},
		{"--dev 17", "must be a number from 0 to 16"},
		{"--no-such-flag", "unknown flag: --no-such-flag"},
		{"-no-such-flag", "unknown flag: --no-such-flag"},
		{"--port", "flag needs an argument: --port"},
		{`--node-id for"flag-x --shards "-shards`, `invalid value "\"-shards" for --shards: `},
		{"start", `unexpected argument "start"`},
	} {
		if _, err := ParseConfig(strings.Fields(test.args), environment(), ""); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.args, err, test.want)
		}
	}
	if _, err := ParseConfig(nil, environment("NDRING_MAXCLIENTS", "many"), ""); err == nil || !strings.Contains(err.Error(), `"many" in NDRING_MAXCLIENTS`) {
		t.Errorf("environment: %v", err)
	}
}

// The ports between nodes need a gossip key and TLS if other machines reach them, or --insecure. The listeners of clients do not count.
func TestPortsThatOtherMachinesReach(t *testing.T) {
	const tls = " --bus-tls-cert a --bus-tls-key b --bus-tls-ca c"
	for args, env := range map[string][]string{
		"": nil, "--bind 127.1.2.3": nil, "--bind ::1": nil, "--bind localhost": nil, "--bind 10.0.0.1 --gossip-key-file key" + tls: nil, "--listen a=:7379": nil,
		"--bind 10.0.0.1 --insecure": nil, "--bind 10.0.0.1 --insecure yes --port 1": nil, "--insecure --bind 10.0.0.1": nil, "--bind 10.0.0.1 -insecure=yes": nil,
		"--bind 10.0.0.1": {"NDRING_INSECURE", "yes"}, "--bind 10.0.0.2" + tls: {"NDRING_GOSSIP_KEY_FILE", "key"}, "--bind 10.0.0.1 --gossip-key-file key --insecure": nil,
	} {
		if _, err := ParseConfig(strings.Fields(args), environment(env...), ""); err != nil {
			t.Errorf("%s %q: %v", args, env, err)
		}
	}
	for args, want := range map[string][]string{
		"--insecure": nil, "--bind 10.0.0.1 --insecure --gossip-key-file key" + tls: nil,
		"--bind 10.0.0.1 --insecure":                       {"gossip is not encrypted: anyone who reaches port 7946", "; the bus is plain: anyone who reaches port 17379"},
		"--bind 10.0.0.1 --insecure --gossip-key-file key": {"--insecure: the bus is plain"},
		"--bind 10.0.0.1 --gossip-port 5 --insecure" + tls: {"--insecure: gossip is not encrypted: anyone who reaches port 5"},
	} {
		c, err := ParseConfig(strings.Fields(args), environment(), "")
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		c.warnOfOpenPorts(slog.New(slog.NewTextHandler(&b, nil)))
		if lines := strings.Count(b.String(), "\n"); lines != min(len(want), 1) || lacks(b.String(), want...) != "" {
			t.Errorf("%s: %s", args, b.String())
		}
	}
}
