package node

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

// settingGroup is a part of the settings table, as help and docs show it.
type settingGroup struct {
	title    string
	settings []setting
}

// settingGroups is the settings table. Flags, environment, CONFIG, help and docs/settings.md are all read from it.
var settingGroups = []settingGroup{
	{"Basics", basicSettings}, {"Cluster", clusterSettings}, {"Persistence", persistenceSettings}, {"Memory", memorySettings},
	{"Limits for clients", limitSettings}, {"Security", securitySettings}, {"Logs", logSettings},
}

// settings are all rows of the table.
var settings = func() (all []setting) {
	for _, g := range settingGroups {
		all = append(all, g.settings...)
	}
	return all
}()

// setting is one row of the settings table.
type setting struct {
	name  string // of the flag; the environment has it as NDRING_NAME
	value string // what help calls its value
	def   string
	help  string // meaning, unit and consequence
	field        // how it is read and written
	live  bool   // CONFIG SET may change it
}

// field is a place in Config with its text.
type field struct {
	set func(*Config, string) error
	get func(*Config) string
}

// yesNo is the value of a boolean setting.
const yesNo = "yes|no"

// choices returns the values that a setting may have, if they are few.
func (s setting) choices() []string {
	if !strings.Contains(s.value, "|") || strings.ContainsAny(s.value, " =[") {
		return nil
	}
	return strings.Split(s.value, "|")
}

func (s setting) env() string {
	return "NDRING_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

var basicSettings = []setting{
	{"node-id", "ID", "", "name of this node, 1 to 64 characters; clients see 40 hexadecimal digits made from it. The data folder remembers it. Default: random",
		shortTextField(func(c *Config) *string { return &c.NodeID }), false},
	{"port", "N", "7379", "port for clients; 0 lets the system choose", intField(0, 65535, func(c *Config) *int { return &c.Port }), false},
	{"bind", "ADDRESS", "127.0.0.1", "address of all ports. The HTTP port has no password. Bus and gossip need --bus-tls-cert and --gossip-key-file, unless only this machine reaches them",
		textField(func(c *Config) *string { return &c.Bind }), false},
	{"listen", "NAME=ADDRESS:PORT[,tls=yes|no][,announce=HOST:PORT]", "",
		"a client listener that replaces --bind and --port. It speaks TLS if tls=yes, or if the node has --tls-cert and tls=no is not given. Clients are redirected to the addresses announced by the listeners of the same name. " +
			"Repeatable; in the environment, separate several by blanks", field{setListen, getListen}, false},
	{"http-port", "N", "7380", "port for /healthz, /readyz and /metrics; 0 lets the system choose",
		intField(0, 65535, func(c *Config) *int { return &c.HTTPPort }), false},
	{"dev", "N", "0", "run a cluster of N nodes in this process, to try things out. Clients use --port to --port + N - 1; the system chooses all other ports. " +
		"The data is in a temporary folder that is removed when the process ends", intField(0, maxDev, func(c *Config) *int { return &c.Dev }), false},
}

var clusterSettings = []setting{
	{"join", "HOST[:PORT],...", "", "gossip addresses of other nodes of the cluster; one that answers is enough. Names are resolved at every attempt. " +
		"Without --join and --bootstrap-expect the node is a cluster of one, which others may join", field{setJoin, getJoin}, false},
	{"bootstrap-expect", "N", "0", "make a new cluster as soon as N nodes that were started with the same N see each other through --join. Only nodes with an empty " +
		"data folder do so; the others remember their cluster. 0: join an existing cluster", intField(0, maxExpect, func(c *Config) *int { return &c.Cluster.Expect }), false},
	{"shards", "N", strconv.Itoa(topology.DefaultShards), "number of shards, a power of two from 16 to 16384. It cannot change once the cluster exists", field{
		set: func(c *Config, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil {
				return errors.New("must be a number")
			}
			c.Shards = n
			return topology.CheckShards(n)
		},
		get: func(c *Config) string { return strconv.Itoa(c.Shards) },
	}, false},
	{"replicas", "N", "2", "copies of each shard, the primary included, in a cluster that this node bootstraps. Each acknowledged write is on all copies that are in sync",
		intField(1, 5, func(c *Config) *int { return &c.Cluster.Replicas }), false},
	{"write-concern", "one|sync|all", shard.DefaultCopyConfig.Write.String(), "which copies must have a write before its reply: one (the primary; readers may not see the write yet, and it may be undone), " +
		"sync (all copies in sync, at least min-insync), all (every node that is to have a copy). NP.SET ... WC overrides it", field{setConcern, func(c *Config) string { return c.Server.Copies.Write.String() }}, true},
	{"read-concern", "lease|sync", "lease", "how a primary knows that it still is one when it answers a read: lease (from heartbeats of the last 500 ms, if clocks run at the same rate), " +
		"sync (it asks the copies in sync after each look-up, which costs a round trip)", field{setReadConcern, getReadConcern}, true},
	{"min-insync", "N", strconv.Itoa(shard.DefaultCopyConfig.MinInSync), "copies in sync, the primary included, that a write needs with the concerns sync and all: with fewer it gets NOREPLICAS and nothing happens. Reads continue",
		intField(1, shard.MaxMinInSync, func(c *Config) *int { return &c.Server.Copies.MinInSync }), true},
	{"replica-max-staleness", "DURATION", shard.DefaultCopyConfig.MaxStaleness.String(), "how old the data may be that this node's replicas show to clients after READONLY. Older ones answer MOVED",
		durationField(func(c *Config) *time.Duration { return &c.Server.Copies.MaxStaleness }), true},
	{"empty-shards", "auto|operator", topology.EmptyAuto, "who decides that a shard whose last copy was wiped begins empty: auto (the cluster, a minute after the node came back " +
		"without the copy), operator (ndctl begin-empty). Until then the shard is down", field{setEmptyShards, func(c *Config) string { return c.Cluster.EmptyShards }}, true},
	{"rebalance", "auto|operator", cluster.DefaultMoves.Rebalance, "who decides that nodes get their shares of the shards after others have joined: auto (the cluster, a second later), operator (ndctl rebalance). " +
		"Copies of nodes that leave, are drained or are gone move in any case", field{setRebalance, func(c *Config) string { return c.Cluster.Moves.Rebalance }}, true},
	{"moves", "on|paused", movesOn, "paused: no copy of a shard begins to move to another node, not even to replace one that is lost. Copies on their way go on", field{setMoves, getMoves}, true},
	{"move-rate", "BYTES", "0", "bytes a second that this node sends at most to copies that catch up and that no write waits for; 0: no fixed limit, but while clients are busy such copies get a part of the time",
		field{setMoveRate, func(c *Config) string { return strconv.FormatInt(c.Cluster.MoveRate, 10) }}, true},
	{"replace-after", "DURATION", cluster.DefaultMoves.ReplaceAfter.String(), "how long a node is down before other nodes get its copies; 0: for ever",
		field{setReplaceAfter, func(c *Config) string { return c.Cluster.Moves.ReplaceAfter.String() }}, true},
	{"weight", "N", strconv.Itoa(topology.DefaultWeight), "share of the shards that this node gets, relative to the weights of the other nodes",
		intField(1, topology.MaxWeight, func(c *Config) *int { return &c.Cluster.Weight }), true},
	{"zone", "NAME", "", "where the node is, such as a rack or a data centre. The copies of a shard are assigned to different zones where possible",
		shortTextField(func(c *Config) *string { return &c.Zone }), false},
	{"bus-port", "N", "", "port for other nodes (TCP): raft, and requests between nodes. Default: --port + 10000. 0 lets the system choose, as --port 0 does by default",
		field{
			set: func(c *Config, s string) error { return setPort(&c.Cluster.busPort, s) },
			get: func(c *Config) string { return strconv.Itoa(c.Cluster.BusPort) },
		}, false},
	{"gossip-port", "N", "", "port on which nodes find each other (TCP and UDP). Default: 7946. 0 lets the system choose, as --port 0 does by default",
		field{
			set: func(c *Config, s string) error { return setPort(&c.Cluster.gossipPort, s) },
			get: func(c *Config) string { return strconv.Itoa(c.Cluster.GossipPort) },
		}, false},
}

var persistenceSettings = []setting{
	{"dir", "FOLDER", "ndring-data", "data folder: logs and snapshots of the shards. Only one node may use it at a time. Empty: nothing is kept on disk",
		textField(func(c *Config) *string { return &c.Dir }), false},
	{"appendonly", yesNo, "yes", "write each change to the log of its shard before the reply. no: only snapshots reach the disk",
		boolField(func(c *Config) *bool { return &c.Logged }), false},
	{"appendfsync", "always|everysec|no", string(shard.FsyncEverysec), "when the log survives a power loss: always (before the reply), everysec (about a second later), no (when the system decides). " +
		"It always survives the end of the process", field{setFsync, func(c *Config) string { return string(c.Server.Disk.Fsync) }}, true},
	{"save", "'SECONDS CHANGES ...'", "", "write snapshots of all changed shards once SECONDS have passed and CHANGES were made. " +
		"Not needed with a log: the node writes snapshots by itself as its data folder grows", field{setSave, getSave}, true},
	{"disk-reserve", "BYTES", "128mb", "disk space that values leave free. With less, writes get DISKFULL; reads continue",
		bytesField(0, 1<<50, func(c *Config) *int64 { return &c.Server.Disk.Reserve }), true},
	{"scrub-rate", "BYTES", "4mb", "bytes per second at which the data folder is read again and compared with its CRC32C; 0 disables that",
		bytesField(0, 1<<40, func(c *Config) *int64 { return &c.Server.Disk.ScrubRate }), true},
}

var memorySettings = []setting{
	{"maxmemory", "BYTES", "0", "memory that the process may use, including uploads, replies and itself. At the limit, maxmemory-policy decides. 0: no limit",
		bytesField(0, 1<<50, func(c *Config) *int64 { return &c.Server.Memory.Limit }), true},
	{"maxmemory-policy", "POLICY", string(shard.NoEviction), "what happens at maxmemory: " + policyNames() + ". The volatile ones evict only keys with a time to live. " +
		"Among equally used arrays, large ones are evicted first. noeviction refuses writes with OOM",
		field{setPolicy, func(c *Config) string { return string(c.Server.Memory.Policy) }}, true},
	{"maxmemory-samples", "N", strconv.Itoa(shard.DefaultSamples), "keys compared for each eviction; more choose better and take longer",
		intField(1, 64, func(c *Config) *int { return &c.Server.Memory.Samples }), true},
	{"lfu-log-factor", "N", strconv.Itoa(shard.DefaultLFULogFactor), "how many accesses raise the access counter of a key, as in Redis",
		intField(0, 1_000_000, func(c *Config) *int { return &c.Server.Memory.LFULogFactor }), true},
	{"lfu-decay-time", "MINUTES", strconv.Itoa(shard.DefaultLFUDecay), "time after which the access counter of an unused key drops by one; 0: never",
		intField(0, 1_000_000, func(c *Config) *int { return &c.Server.Memory.LFUDecay }), true},
}

var limitSettings = []setting{
	{"max-array-bytes", "BYTES", "512mb", "largest array, data only. A larger one is refused with TOOLARGE",
		bytesField(1, 1<<40, func(c *Config) *int64 { return &c.Server.MaxArrayBytes }), true},
	{"maxclients", "N", strconv.Itoa(protocol.DefaultMaxClients), "client connections; one more gets an error and is closed. Bounded by the open files that disk and cluster leave",
		intField(1, 1_000_000, func(c *Config) *int { return &c.Server.MaxClients }), true},
	{"timeout", "SECONDS", "0", "close clients that send no command for this long; 0: never",
		unitField(time.Second, 0, func(c *Config) *time.Duration { return &c.Server.IdleTimeout }), true},
	{"max-upload-bytes", "BYTES", "1gb", "memory for all commands that are being received. Beyond it, commands wait, then get BUSY",
		bytesField(1<<20, 1<<42, func(c *Config) *int64 { return &c.Server.MaxUploadBytes }), true},
	{"min-upload-rate", "BYTES", "256kb", "bytes per second. An upload that is slower for 5 s is closed if others wait for its memory",
		bytesField(0, 1<<40, func(c *Config) *int64 { return &c.Server.MinUploadRate }), true},
	{"upload-wait", "DURATION", protocol.DefaultUploadWait.String(), "how long a command waits for upload memory before it gets BUSY",
		durationField(func(c *Config) *time.Duration { return &c.Server.UploadWait }), true},
	{"upload-stall", "DURATION", protocol.DefaultUploadStall.String(), "longest silence within a command before its connection is closed",
		durationField(func(c *Config) *time.Duration { return &c.Server.UploadStall }), true},
	{"max-reply-bytes", "BYTES", "64mb", "unread replies of one client; beyond it, the client's commands wait",
		bytesField(1<<10, 1<<42, func(c *Config) *int64 { return &c.Server.MaxReplyBytes }), true},
	{"max-output-bytes", "BYTES", "1gb", "unread replies of all clients; beyond it, commands of clients with more than 64 KiB of unread replies wait, and NP.SLICE and NP.TAKE get BUSY",
		bytesField(1<<20, 1<<42, func(c *Config) *int64 { return &c.Server.MaxOutputBytes }), true},
	{"reply-stall", "DURATION", protocol.DefaultReplyStall.String(), "close clients that read none of their replies for this long",
		durationField(func(c *Config) *time.Duration { return &c.Server.ReplyStall }), true},
	{"client-output-buffer-limit", "'normal HARD SOFT SECONDS'", "normal 0 0 0",
		"close a client that has more than HARD bytes of unread replies, or more than SOFT for SECONDS; 0: no limit",
		field{setOutputLimit, getOutputLimit}, true},
}

var securitySettings = []setting{
	{"requirepass", "PASSWORD", "", "password that clients give with AUTH. Prefer the environment: a process list shows flags",
		textField(func(c *Config) *string { return &c.Server.Password }), true},
	{"protected-mode", yesNo, "yes", "without a password, serve only clients on this machine",
		boolField(func(c *Config) *bool { return &c.Server.ProtectedMode }), true},
	{"tls-cert", "FILE", "", "PEM file with this node's certificate for clients, followed by those between it and the CA. With it all client listeners speak TLS, except those with " +
		"tls=no in --listen. The files are read again within seconds after they change", textField(func(c *Config) *string { return &c.TLS.Cert }), false},
	{"tls-key", "FILE", "", "PEM file with the private key of --tls-cert", textField(func(c *Config) *string { return &c.TLS.Key }), false},
	{"tls-ca", "FILE", "", "PEM file with the CAs that sign the certificates of clients", textField(func(c *Config) *string { return &c.TLS.CA }), false},
	{"tls-client-auth", "no|optional|require", "no", "whether clients of TLS listeners show a certificate that --tls-ca has signed: no (they are not asked), optional (a wrong one is refused), " +
		"require. The password and protected-mode apply all the same", field{setClientAuth, func(c *Config) string { return c.TLS.ClientAuth }}, false},
	{"gossip-key-file", "FILE", "", "file with the keys of gossip, a line each: 16, 24 or 32 bytes in base64 or hexadecimal digits. The first encrypts, all decrypt. It is read again when it changes; ndctl gossip-key rotate changes the key of all nodes",
		textField(func(c *Config) *string { return &c.Cluster.GossipKeyFile }), false},
	{"bus-tls-cert", "FILE", "", "file with this node's certificate for the bus, in PEM. With it, --bus-tls-key and --bus-tls-ca, nodes speak only TLS with each other, and each proves its node id and its cluster " +
		"by the URI ndring://cluster/ID/node/ID of its certificate. All nodes of a cluster have it or none. The three files are read again when they change", textField(func(c *Config) *string { return &c.Cluster.BusTLS.Cert }), false},
	{"bus-tls-key", "FILE", "", "file with the private key of --bus-tls-cert", textField(func(c *Config) *string { return &c.Cluster.BusTLS.Key }), false},
	{"bus-tls-ca", "FILE", "", "file with the CAs that sign the certificates of the nodes. They should sign nothing else", textField(func(c *Config) *string { return &c.Cluster.BusTLS.CA }), false},
	{"readmit", "NODE,...", "", "names or ids of nodes that were removed from the cluster and may join it again. With --bus-tls-cert, removal revokes a node's certificate, also one that is issued later",
		field{setReadmit, getReadmit}, true},
	{"insecure", yesNo, "no", "allow an address that other machines reach without --gossip-key-file or without --bus-tls-cert. Anyone who reaches the ports between nodes can then make " +
		"this node see nodes that do not exist, take nodes for dead, or act as a node", boolField(func(c *Config) *bool { return &c.Cluster.Insecure }), false},
}

var logSettings = []setting{
	{"log-level", "debug|info|warn|error", "info", "least severe level that is logged", field{
		set: func(c *Config, s string) error {
			if !slices.Contains(logLevels, strings.ToLower(s)) {
				return errors.New("must be one of the following: " + strings.Join(logLevels, ", ")) // in Redis' words
			}
			return c.LogLevel.UnmarshalText([]byte(s))
		},
		get: func(c *Config) string { return strings.ToLower(c.LogLevel.String()) },
	}, true},
	{"log-format", "text|json", "text", "format of the log on standard error", field{
		set: func(c *Config, s string) error {
			if s != "text" && s != "json" {
				return errors.New("must be text or json")
			}
			c.LogFormat = s
			return nil
		},
		get: func(c *Config) string { return c.LogFormat },
	}, false},
	{"slowlog-log-slower-than", "MICROSECONDS", "10000", "keep commands that take at least this long for SLOWLOG; negative: none",
		unitField(time.Microsecond, -1, func(c *Config) *time.Duration { return &c.Server.SlowlogSlowerThan }), true},
	{"slowlog-max-len", "N", strconv.Itoa(protocol.DefaultSlowlogMaxLen), "number of commands that SLOWLOG keeps",
		intField(0, 1_000_000, func(c *Config) *int { return &c.Server.SlowlogMaxLen }), true},
	{"tracking-table-max-keys", "N", strconv.Itoa(protocol.DefaultTrackingTableMaxKeys), "number of keys that the node remembers for clients with CLIENT TRACKING; beyond it, it tells clients to drop random ones",
		intField(1, 1_000_000_000, func(c *Config) *int { return &c.Server.TrackingTableMaxKeys }), true},
	{"latency-monitor-threshold", "MILLISECONDS", "0", "sample commands that take at least this long for LATENCY; 0: none",
		unitField(time.Millisecond, 0, func(c *Config) *time.Duration { return &c.Server.LatencyThreshold }), true},
}

var logLevels = []string{"debug", "info", "warn", "error"}

// facts are Redis settings that clients read with CONFIG GET and that have one fixed value here.
var facts = []protocol.Setting{
	{Name: "cluster-enabled", Value: "yes"},
	{Name: "databases", Value: "1"},
}
