package node

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
)

// Config is what a node is started with. The settings table says what each field means.
type Config struct {
	Port           int
	Bind           string
	Listen         []ListenerConfig
	HTTPPort       int
	NodeID         string
	Shards         int
	MaxArrayBytes  int64
	MaxUploadBytes int64
	MaxReplyBytes  int64
	MaxClients     int
	UploadStall    time.Duration
	Password       string
	ProtectedMode  bool
	LogLevel       slog.Level
	LogFormat      string
	Version        string // of the binary
}

// setting is a row of the settings table: the flag, the NDRING_ name in the environment and the help are all read from it.
type setting struct {
	name  string // of the flag; the environment has it as NDRING_NAME
	value string // what its operand is called in the help
	def   string
	help  string // what it is, its unit and what follows from it
	set   func(*Config, string) error
}

var settings = []setting{
	{"port", "N", "7379", "port for clients; 0 lets the system choose", intSetting(0, 65535, func(c *Config) *int { return &c.Port })},
	{"bind", "ADDRESS", "127.0.0.1", "address for clients and for HTTP; the HTTP port has no password",
		func(c *Config, s string) error { c.Bind = s; return nil }},
	{"listen", "NAME=ADDRESS:PORT[,announce=HOST:PORT]", "",
		"a client listener in place of --bind and --port. Clients are told the announced address of the listener that they came in by. " +
			"May be given several times; in the environment separated by blanks", setListen},
	{"http-port", "N", "7380", "port for /healthz, /readyz and /metrics; 0 lets the system choose", intSetting(0, 65535, func(c *Config) *int { return &c.HTTPPort })},
	{"node-id", "ID", "", "name of this node, 1 to 64 characters; clients see 40 hexadecimal digits made from it. Random by default",
		func(c *Config, s string) error {
			if len(s) > 64 {
				return errors.New("has more than 64 characters")
			}
			c.NodeID = s
			return nil
		}},
	{"shards", "N", strconv.Itoa(topology.DefaultShards), "number of shards, a power of two from 16 to 16384; fixed when a cluster is made",
		func(c *Config, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil {
				return errors.New("is no number")
			}
			c.Shards = n
			return topology.CheckShards(n)
		}},
	{"max-array-bytes", "BYTES", "512mb", "largest array, data only; a larger one is refused with TOOLARGE",
		bytesSetting(1, 1<<40, func(c *Config) *int64 { return &c.MaxArrayBytes })},
	{"max-upload-bytes", "BYTES", "1gb", "memory for all commands that are on their way in; more of them wait, then get BUSY",
		bytesSetting(1<<20, 1<<42, func(c *Config) *int64 { return &c.MaxUploadBytes })},
	{"max-reply-bytes", "BYTES", "64mb", "replies that may wait for one client which does not read them; above, its commands wait",
		bytesSetting(1<<10, 1<<42, func(c *Config) *int64 { return &c.MaxReplyBytes })},
	{"maxclients", "N", strconv.Itoa(protocol.DefaultMaxClients), "client connections; one more gets an error and is closed",
		intSetting(1, 1_000_000, func(c *Config) *int { return &c.MaxClients })},
	{"upload-stall", "DURATION", protocol.DefaultUploadStall.String(), "longest silence within a command; then its connection is closed",
		func(c *Config, s string) error {
			d, err := time.ParseDuration(s)
			if err != nil || d <= 0 {
				return errors.New("is no duration such as 30s")
			}
			c.UploadStall = d
			return nil
		}},
	{"requirepass", "PASSWORD", "", "password that clients must give with AUTH. Better in the environment, where no list of processes shows it",
		func(c *Config, s string) error { c.Password = s; return nil }},
	{"protected-mode", "yes|no", "yes", "without a password, serve clients from this machine alone",
		func(c *Config, s string) error {
			if s != "yes" && s != "no" {
				return errors.New("is neither yes nor no")
			}
			c.ProtectedMode = s == "yes"
			return nil
		}},
	{"log-level", "LEVEL", "info", "debug, info, warn or error",
		func(c *Config, s string) error { return c.LogLevel.UnmarshalText([]byte(s)) }},
	{"log-format", "FORMAT", "text", "text or json; the log goes to standard error",
		func(c *Config, s string) error {
			if s != "text" && s != "json" {
				return errors.New("is neither text nor json")
			}
			c.LogFormat = s
			return nil
		}},
}

// ParseConfig reads arguments, then NDRING_ variables for what they leave open, then defaults. flag.ErrHelp means that help was asked for
// and has been written to output.
func ParseConfig(args []string, environ func(string) (string, bool), version string, output io.Writer) (*Config, error) {
	c := &Config{Version: version}
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
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		writeHelp(output)
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w\nTry 'ndring --help'", err)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q\nTry 'ndring --help'", flags.Arg(0))
	}
	for _, s := range settings {
		if given[s.name] {
			continue
		}
		value, from := s.def, "the default"
		if v, ok := environ(s.env()); ok {
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
	return c, nil
}

func (s setting) env() string {
	return "NDRING_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

func writeHelp(w io.Writer) {
	fmt.Fprint(w, `ndring is a cache for NumPy arrays: what you store is exactly what you get back.

Usage:
  ndring [--flag value ...]                    run a node
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

func intSetting(low, high int, field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("is no number from %d to %d", low, high)
		}
		*field(c) = n
		return nil
	}
}

func bytesSetting(low, high int64, field func(*Config) *int64) func(*Config, string) error {
	return func(c *Config, s string) error {
		n, err := parseBytes(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("is no size from %d to %d bytes, such as 512mb", low, high)
		}
		*field(c) = n
		return nil
	}
}

// parseBytes reads a size with Redis' units.
func parseBytes(s string) (int64, error) {
	lower := strings.ToLower(s)
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{
		{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"tb", 1 << 40}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"t", 1e12}, {"b", 1},
	} {
		if rest, ok := strings.CutSuffix(lower, u.suffix); ok {
			lower, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(lower, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size", s)
	}
	return n * unit, nil
}
