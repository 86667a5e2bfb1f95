package node

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

// Config is what a node is started with. The settings table says what each field means.
type Config struct {
	Port      int
	Bind      string
	Listen    []ListenerConfig
	HTTPPort  int
	NodeID    string
	Zone      string
	Cluster   ClusterConfig
	Dev       int // so many nodes in this process; 0 for one, as it is configured
	Shards    int
	Dir       string // "" for nothing on disk
	Logged    bool   // each write comes into a log
	LogLevel  slog.Level
	LogFormat string
	Container int64           // bytes of memory that the container of this process has; 0 for no limit
	Warnings  []string        // about what was given and is not used
	logLost   func() int64    // dropped lines of the log; nil where they are not counted
	Server    protocol.Config // what clients may do

	Descriptors Descriptors // that there are for this node
}

// setting is a row of the settings table: the flag, the NDRING_ name in the environment, the help and the name in CONFIG are all read from it.
type setting struct {
	name  string // of the flag; the environment has it as NDRING_NAME
	value string // what its operand is called in the help
	def   string
	help  string // what it is, its unit and what follows from it
	field        // how it is read and written
	live  bool   // CONFIG SET may change it
}

// field is a place in Config with its text.
type field struct {
	set func(*Config, string) error
	get func(*Config) string
}

var settings = slices.Concat(nodeSettings, clusterSettings, serverSettings)

// nodeSettings say which node this is, and where it listens.
var nodeSettings = []setting{
	{"port", "N", "7379", "port for clients; 0 lets the system choose", intField(0, 65535, func(c *Config) *int { return &c.Port }), false},
	{"bind", "ADDRESS", "127.0.0.1", "address for clients and for HTTP; the HTTP port has no password",
		textField(func(c *Config) *string { return &c.Bind }), false},
	{"listen", "NAME=ADDRESS:PORT[,announce=HOST:PORT]", "",
		"a client listener in place of --bind and --port. Clients are told the announced address of the listener that they came in by. " +
			"May be given several times; in the environment separated by blanks", field{setListen, getListen}, false},
	{"http-port", "N", "7380", "port for /healthz, /readyz and /metrics; 0 lets the system choose",
		intField(0, 65535, func(c *Config) *int { return &c.HTTPPort }), false},
	{"node-id", "ID", "", "name of this node, 1 to 64 characters; clients see 40 hexadecimal digits made from it. Random by default. The data folder remembers it", field{
		set: func(c *Config, s string) error {
			if len(s) > 64 {
				return errors.New("has more than 64 characters")
			}
			c.NodeID = s
			return nil
		},
		get: func(c *Config) string { return c.NodeID },
	}, false},
	{"shards", "N", strconv.Itoa(topology.DefaultShards), "number of shards, a power of two from 16 to 16384; fixed when a cluster is made", field{
		set: func(c *Config, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil {
				return errors.New("is no number")
			}
			c.Shards = n
			return topology.CheckShards(n)
		},
		get: func(c *Config) string { return strconv.Itoa(c.Shards) },
	}, false},
	{"dev", "N", "0", "run a cluster of N nodes in this process, for trying things out: clients at --port to --port + N - 1, all other ports chosen by the system, " +
		"data in a temporary folder that goes with the process", intField(0, maxDev, func(c *Config) *int { return &c.Dev }), false},
}

// serverSettings say what the node keeps, and what clients may do.
var serverSettings = []setting{
	{"dir", "FOLDER", "ndring-data", "data folder: logs and snapshots of the shards. One node uses it at a time. Empty: nothing is kept on disk",
		textField(func(c *Config) *string { return &c.Dir }), false},
	{"appendonly", "yes|no", "yes", "write each change to the log of its shard before the reply; with no, there are snapshots alone",
		boolField(func(c *Config) *bool { return &c.Logged }), false},
	{"appendfsync", "POLICY", string(shard.FsyncEverysec), "when the log survives a loss of power: always (before the reply), everysec (a second later, about), no (when the system likes). " +
		"It survives the end of the process in any case", field{setFsync, func(c *Config) string { return string(c.Server.Disk.Fsync) }}, true},
	{"save", "'SECONDS CHANGES ...'", "", "write snapshots of all shards that have changed when so many seconds have passed and so many changes were made. " +
		"With a log there is no need to: a shard's snapshot is written when its log has grown as long as its values", field{setSave, getSave}, true},
	{"disk-reserve", "BYTES", "128mb", "space that values leave free on the disk; below, writes get DISKFULL and reads go on",
		bytesField(0, 1<<50, func(c *Config) *int64 { return &c.Server.Disk.Reserve }), true},
	{"scrub-rate", "BYTES", "4mb", "bytes a second of the data folder that are read again and compared with their CRC32C; 0 for none",
		bytesField(0, 1<<40, func(c *Config) *int64 { return &c.Server.Disk.ScrubRate }), true},
	{"max-array-bytes", "BYTES", "512mb", "largest array, data only; a larger one is refused with TOOLARGE",
		bytesField(1, 1<<40, func(c *Config) *int64 { return &c.Server.MaxArrayBytes }), true},
	{"maxmemory", "BYTES", "0", "memory that the process may use, uploads, replies and itself included; at the limit the policy decides. 0 for no limit",
		bytesField(0, 1<<50, func(c *Config) *int64 { return &c.Server.Memory.Limit }), true},
	{"maxmemory-policy", "POLICY", string(shard.NoEviction), "what happens at maxmemory: " + policyNames() + ". Volatile ones evict only keys with a time to live; " +
		"large arrays go before small ones that are used as much; noeviction refuses writes with OOM",
		field{setPolicy, func(c *Config) string { return string(c.Server.Memory.Policy) }}, true},
	{"maxmemory-samples", "N", strconv.Itoa(shard.DefaultSamples), "keys that are looked at for each one that is evicted: more choose better and take longer",
		intField(1, 64, func(c *Config) *int { return &c.Server.Memory.Samples }), true},
	{"lfu-log-factor", "N", strconv.Itoa(shard.DefaultLFULogFactor), "how many uses it takes to raise a key's counter, as Redis has it",
		intField(0, 1_000_000, func(c *Config) *int { return &c.Server.Memory.LFULogFactor }), true},
	{"lfu-decay-time", "MINUTES", strconv.Itoa(shard.DefaultLFUDecay), "after which the counter of a key that nobody uses is lowered by one; 0 for never",
		intField(0, 1_000_000, func(c *Config) *int { return &c.Server.Memory.LFUDecay }), true},
	{"max-upload-bytes", "BYTES", "1gb", "memory for all commands that are on their way in; more of them wait, then get BUSY",
		bytesField(1<<20, 1<<42, func(c *Config) *int64 { return &c.Server.MaxUploadBytes }), true},
	{"min-upload-rate", "BYTES", "256kb", "bytes a second; an upload that is slower for 5 s is closed when others wait for room",
		bytesField(0, 1<<40, func(c *Config) *int64 { return &c.Server.MinUploadRate }), true},
	{"upload-wait", "DURATION", protocol.DefaultUploadWait.String(), "how long a command waits for room among the uploads before it gets BUSY",
		durationField(func(c *Config) *time.Duration { return &c.Server.UploadWait }), true},
	{"upload-stall", "DURATION", protocol.DefaultUploadStall.String(), "longest silence within a command; then its connection is closed",
		durationField(func(c *Config) *time.Duration { return &c.Server.UploadStall }), true},
	{"max-reply-bytes", "BYTES", "64mb", "replies that may wait for one client which does not read them; above, its commands wait",
		bytesField(1<<10, 1<<42, func(c *Config) *int64 { return &c.Server.MaxReplyBytes }), true},
	{"max-output-bytes", "BYTES", "1gb", "replies that may wait for all clients together; above, commands of those wait that have more than 64 KiB waiting",
		bytesField(1<<20, 1<<42, func(c *Config) *int64 { return &c.Server.MaxOutputBytes }), true},
	{"reply-stall", "DURATION", protocol.DefaultReplyStall.String(), "a client that takes nothing of its replies for so long is closed",
		durationField(func(c *Config) *time.Duration { return &c.Server.ReplyStall }), true},
	{"client-output-buffer-limit", "'normal HARD SOFT SECONDS'", "normal 0 0 0",
		"a client is closed when more than HARD bytes of replies wait for it, or more than SOFT for so many seconds; 0 for no limit",
		field{setOutputLimit, getOutputLimit}, true},
	{"timeout", "SECONDS", "0", "a client that sends no command for so long is closed; 0 for never",
		unitField(time.Second, 0, func(c *Config) *time.Duration { return &c.Server.IdleTimeout }), true},
	{"maxclients", "N", strconv.Itoa(protocol.DefaultMaxClients), "client connections; one more gets an error and is closed. At most what the limit of open files leaves beside those that the disk and the cluster need",
		intField(1, 1_000_000, func(c *Config) *int { return &c.Server.MaxClients }), true},
	{"requirepass", "PASSWORD", "", "password that clients must give with AUTH. Better in the environment, where no list of processes shows it",
		textField(func(c *Config) *string { return &c.Server.Password }), true},
	{"protected-mode", "yes|no", "yes", "without a password, serve clients from this machine alone",
		boolField(func(c *Config) *bool { return &c.Server.ProtectedMode }), true},
	{"slowlog-log-slower-than", "MICROSECONDS", "10000", "commands that take so long are kept for SLOWLOG; negative for none",
		unitField(time.Microsecond, -1, func(c *Config) *time.Duration { return &c.Server.SlowlogSlowerThan }), true},
	{"slowlog-max-len", "N", strconv.Itoa(protocol.DefaultSlowlogMaxLen), "how many of them are kept",
		intField(0, 1_000_000, func(c *Config) *int { return &c.Server.SlowlogMaxLen }), true},
	{"latency-monitor-threshold", "MILLISECONDS", "0", "commands that take so long are samples for LATENCY; 0 for none",
		unitField(time.Millisecond, 0, func(c *Config) *time.Duration { return &c.Server.LatencyThreshold }), true},
	{"log-level", "LEVEL", "info", "debug, info, warn or error", field{
		set: func(c *Config, s string) error {
			if !slices.Contains(logLevels, strings.ToLower(s)) {
				return errors.New("must be one of the following: " + strings.Join(logLevels, ", ")) // in Redis' words
			}
			return c.LogLevel.UnmarshalText([]byte(s))
		},
		get: func(c *Config) string { return strings.ToLower(c.LogLevel.String()) },
	}, true},
	{"log-format", "FORMAT", "text", "text or json; the log goes to standard error", field{
		set: func(c *Config, s string) error {
			if s != "text" && s != "json" {
				return errors.New("is neither text nor json")
			}
			c.LogFormat = s
			return nil
		},
		get: func(c *Config) string { return c.LogFormat },
	}, false},
}

var logLevels = []string{"debug", "info", "warn", "error"}

// facts are settings of Redis that CONFIG GET is asked for and that have one value here.
var facts = []protocol.Setting{
	{Name: "cluster-enabled", Value: "yes"},
	{Name: "databases", Value: "1"},
}

// ParseConfig reads arguments, then NDRING_ variables for what they leave open, then defaults. flag.ErrHelp means that help was asked for
// and has been written to output.
func ParseConfig(args []string, environ func(string) (string, bool), version string, output io.Writer) (*Config, error) {
	c := &Config{Server: protocol.Config{Version: version}}
	given := map[string]bool{}
	flags := flag.NewFlagSet("ndring", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, and Usage writes help to output itself
	flags.Usage = func() {}
	for _, s := range settings {
		flags.Func(s.name, s.help, func(value string) error {
			given[s.name] = true
			return s.set(c, value)
		})
	}
	if err := flags.Parse(withValues(args)); errors.Is(err, flag.ErrHelp) {
		writeHelp(output)
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w\nTry 'ndring --help'", dashed(err))
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q\nTry 'ndring --help'", flags.Arg(0))
	}
	for _, s := range settings {
		if given[s.name] {
			continue
		}
		value, from := s.def, "the default"
		if v, ok := environ(s.env()); ok && ofKubernetes(s.env(), v) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s=%s is not used: Kubernetes sets it for a Service of that name; enableServiceLinks: false keeps it out, --%s says the port", s.env(), v, s.name))
		} else if ok {
			value, from = v, s.env()
		}
		if value == "" {
			continue
		}
		if err := s.set(c, value); err != nil {
			return nil, fmt.Errorf("invalid value %q in %s: %w", value, from, err)
		}
	}
	if len(c.Listen) == 0 {
		c.Listen = []ListenerConfig{{Name: "default", Address: joinHostPort(c.Bind, c.Port)}}
	}
	return c, c.complete()
}

// ofKubernetes reports whether a variable is not a setting: in a namespace that has a Service named ndring or ndring-http, Kubernetes gives each container its address as
// NDRING_PORT or NDRING_HTTP_PORT.
func ofKubernetes(name, value string) bool {
	scheme, _, is := strings.Cut(value, "://")
	return is && strings.HasSuffix(name, "_PORT") && slices.Contains([]string{"tcp", "udp", "sctp"}, scheme)
}

// alone are flags that may stand without their value, which is then yes.
var alone = []string{"insecure"}

// withValues gives the flags that stand alone their value.
func withValues(args []string) []string {
	var all []string
	for i := 0; i < len(args); i++ {
		name, dashed := strings.CutPrefix(args[i], "-")
		if name = strings.TrimPrefix(name, "-"); !dashed || !slices.Contains(alone, name) {
			all = append(all, args[i])
			continue
		}
		value := "yes"
		if i+1 < len(args) && (args[i+1] == "yes" || args[i+1] == "no") {
			i++
			value = args[i]
		}
		all = append(all, "--"+name+"="+value)
	}
	return all
}

func (s setting) env() string {
	return "NDRING_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

func writeHelp(w io.Writer) {
	fmt.Fprint(w, `ndring is a cache for NumPy arrays: what you store is exactly what you get back.

Usage:
  ndring [--flag value ...]                    run a node
  ndring check [--repair] --dir FOLDER         read a data folder that no node uses
  ndring dump --dir FOLDER KEY [-o FILE]       write one array of it as a .npy file
  ndring ctl ...                               look at a cluster, or change it (--help)
  ndring healthcheck [--addr 127.0.0.1:7380]   exit 0 if a node is ready, 1 if not
  ndring version                               print the version

Flags; each may also be given in the environment, --http-port as NDRING_HTTP_PORT:
`)
	for _, s := range settings {
		fmt.Fprintf(w, "\n  --%s %s", s.name, s.value)
		if s.def != "" {
			fmt.Fprintf(w, "   (default %s)", s.def)
		}
		fmt.Fprintf(w, "\n%s\n", wrap(s.help, 8, 90))
	}
	fmt.Fprint(w, "\nBYTES may end in k, kb, m, mb, g, gb as in Redis: 1k is 1000, 1kb is 1024.\n")
}

// wrap breaks text at blanks and indents it.
func wrap(text string, indent, width int) string {
	margin := strings.Repeat(" ", indent)
	var b strings.Builder
	column := width + 1
	for _, word := range strings.Fields(text) {
		if column+1+len(word) > width {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(margin + word)
			column = indent + len(word)
			continue
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	return b.String()
}
