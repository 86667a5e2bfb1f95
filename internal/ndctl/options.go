package ndctl

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// defaultAddr is the address of a node on this machine.
const defaultAddr = "127.0.0.1:7379"

// options say how to reach the cluster. All commands share them.
type options struct {
	env          environment
	addrs        []string // complete after prepare
	user         string
	passwordFile string
	timeout      time.Duration
	tlsOptions
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&o.addrs, "addr", "a", nil, "client address `HOST:PORT` of a node; repeat the flag or separate addresses by commas (default NDRING_ADDR, else "+defaultAddr+")")
	flags.StringVar(&o.user, "user", "", "log in as user `NAME` (default: the default user)")
	flags.StringVar(&o.passwordFile, "password-file", "", "read the password from `FILE` (default: NDRING_PASSWORD, else NDRING_REQUIREPASS)")
	o.tlsOptions.addFlags(flags)
	flags.DurationVar(&o.timeout, "timeout", 5*time.Second, "how long to wait for a node; large arrays get more time")
}

// prepare checks the options and completes the addresses, before any command runs.
func (o *options) prepare(c *cobra.Command, args []string) error {
	if o.timeout <= 0 {
		return usageError("--timeout must be positive")
	}
	if err := refuseEmpty(c, args); err != nil {
		return err
	}
	var addrs []string
	for _, given := range o.addrs {
		addrs = append(addrs, strings.Split(given, ",")...)
	}
	if given := o.env.get("NDRING_ADDR"); len(addrs) == 0 && given != "" {
		addrs = strings.FieldsFunc(given, func(r rune) bool { return r == ',' || r == ' ' })
		if len(addrs) == 0 {
			return usageError("NDRING_ADDR %q contains no HOST:PORT", given)
		}
	}
	if len(addrs) == 0 {
		addrs = []string{defaultAddr}
	}
	for i, addr := range addrs {
		complete, err := completeAddress(addr)
		if err != nil {
			return err
		}
		addrs[i] = complete
	}
	o.addrs = addrs
	return nil
}

// completeAddress adds the default port to an address without one.
func completeAddress(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = strings.Trim(addr, "[]"), "7379"
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", usageError("--addr %q is not HOST:PORT", addr)
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, " /@") {
		return "", usageError("--addr %q is not HOST:PORT", addr)
	}
	return net.JoinHostPort(host, port), nil
}

// password returns the password to log in with, or "" for none.
func (o *options) password() (string, error) {
	if o.passwordFile != "" {
		content, err := os.ReadFile(o.passwordFile)
		if err != nil {
			return "", usageError("--password-file: %w", err)
		}
		return strings.TrimRight(string(content), "\r\n"), nil
	}
	for _, name := range []string{"NDRING_PASSWORD", "NDRING_REQUIREPASS"} {
		if p := o.env.get(name); p != "" {
			return p, nil
		}
	}
	if o.user != "" {
		return "", usageError("--user needs a password: set NDRING_PASSWORD, or give --password-file FILE")
	}
	return "", nil
}

// client returns a client for one address. It connects when it is first used.
func (o *options) client(addr, password string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, Username: o.user, Password: password, ClientName: "ndctl", Protocol: 2, DisableIdentity: true,
		DialTimeout: o.timeout, ReadTimeout: o.timeout, WriteTimeout: o.timeout, ContextTimeoutEnabled: true,
		TLSConfig: o.config, MaxRetries: -1, DialerRetries: 1, PoolSize: 4,
	})
}
