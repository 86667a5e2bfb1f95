package node

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ndring/ndring/protocol"
)

// Config is what a node is started with. The settings table explains the fields that it sets.
type Config struct {
	Port      int
	Bind      string
	Listen    []ListenerConfig
	HTTPPort  int
	NodeID    string
	Zone      string
	Cluster   ClusterConfig
	TLS       TLSConfig // of client listeners
	Dev       int       // number of nodes in this process; 0: one, with the other settings
	Shards    int
	Dir       string // empty: nothing on disk
	Logged    bool   // appendonly
	LogLevel  slog.Level
	LogFormat string
	Container int64           // memory limit of the container in bytes; 0: none
	Warnings  []string        // about values that are ignored
	logLost   func() int64    // dropped log lines; nil if they are not counted
	Server    protocol.Config // of the client server

	Descriptors Descriptors
}

// ParseConfig reads args, then NDRING_ variables for what args leave open, then defaults.
func ParseConfig(args []string, environ func(string) (string, bool), version string) (*Config, error) {
	flags := pflag.NewFlagSet("ndring", pflag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned
	parsed := newSettingFlags(flags)
	if err := flags.Parse(normalizeFlags(flags, args)); err != nil {
		return nil, flagError(err)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return parsed.config(environ, version)
}

// settingFlags are the flags of the settings.
type settingFlags struct {
	parsed Config
	given  map[string]bool // by setting name
}

// newSettingFlags adds a flag for each setting.
func newSettingFlags(flags *pflag.FlagSet) *settingFlags {
	f := &settingFlags{given: map[string]bool{}}
	for _, s := range settings {
		flag := flags.VarPF(settingValue{f, s}, s.name, "", s.help)
		if slices.Contains(standAlone, s.name) {
			flag.NoOptDefVal = "yes"
		}
	}
	return f
}

// standAlone are the flags that may be given without a value, which is then yes.
var standAlone = []string{"insecure"}

// settingValue is a setting as the value of a flag.
type settingValue struct {
	flags *settingFlags
	setting
}

// Set implements pflag.Value.
func (v settingValue) Set(text string) error {
	v.flags.given[v.name] = true
	return v.set(&v.flags.parsed, text)
}

// String implements pflag.Value.
func (v settingValue) String() string { return "" }

// Type implements pflag.Value.
func (v settingValue) Type() string { return v.value }

// config returns the configuration: the parsed flags, and for the rest the environment and the defaults.
func (f *settingFlags) config(environ func(string) (string, bool), version string) (*Config, error) {
	c := &f.parsed
	c.Server.Version = version
	for _, s := range settings {
		if f.given[s.name] {
			continue
		}
		value, from := s.def, "the default"
		if v, ok := environ(s.env()); ok && ofKubernetes(s.env(), v) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("ignoring %s=%s: Kubernetes sets it for a Service of that name; set the port with --%s, and keep such variables out with enableServiceLinks: false", s.env(), v, s.name))
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

// ofKubernetes reports whether a variable is not a setting: in a namespace with a Service named ndring or ndring-http,
// Kubernetes gives each container the Service's address as NDRING_PORT or NDRING_HTTP_PORT.
func ofKubernetes(name, value string) bool {
	scheme, _, is := strings.Cut(value, "://")
	return is && strings.HasSuffix(name, "_PORT") && slices.Contains([]string{"tcp", "udp", "sctp"}, scheme)
}
