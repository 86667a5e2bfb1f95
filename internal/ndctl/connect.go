package ndctl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// wholeAddress adds the usual port to an address without one.
func wholeAddress(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = strings.Trim(addr, "[]"), "7379"
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", usageError("--addr %q is no HOST:PORT", addr)
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, " /@") {
		return "", usageError("--addr %q is no HOST:PORT", addr)
	}
	return net.JoinHostPort(host, port), nil
}

// password returns what to log in with.
func (a *app) password() (string, error) {
	if a.passwordFile != "" {
		content, err := os.ReadFile(a.passwordFile)
		if err != nil {
			return "", usageError("--password-file: %w", err)
		}
		return strings.TrimRight(string(content), "\r\n"), nil
	}
	for _, name := range []string{"NDRING_PASSWORD", "NDRING_REQUIREPASS"} {
		if p := a.setting(name); p != "" {
			return p, nil
		}
	}
	if a.user != "" {
		return "", usageError("--user needs a password: NDRING_PASSWORD, or --password-file FILE")
	}
	return "", nil
}

// client returns a client of one address, which has not connected yet.
func (a *app) client(addr, password string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, Username: a.user, Password: password, ClientName: "ndctl", Protocol: 2, DisableIdentity: true,
		DialTimeout: a.timeout, ReadTimeout: a.timeout, WriteTimeout: a.timeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, PoolSize: 4,
	})
}

// view is a cluster as the node tells it that was asked first.
type view struct {
	told     told
	entry    string // address of that node
	password string
	app      *app
	nodes    []*member
	clients  map[string]*redis.Client // all, by address, to be closed
}

// connect asks the given addresses for the cluster, one after the other, until one answers that is part of one.
func (a *app) connect(ctx context.Context) (*view, error) {
	password, err := a.password()
	if err != nil {
		return nil, err
	}
	var failed []string
	code := exitUnreachable
	for _, addr := range a.addrs {
		c := a.client(addr, password)
		t, err := askTopology(ctx, c)
		if err == nil {
			v := &view{told: *t, entry: addr, password: password, app: a, clients: map[string]*redis.Client{addr: c}}
			v.meet(c)
			return v, nil
		}
		c.Close()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case rightsHint(err) != "":
			code = exitRights
		case !lost(err) && code != exitRights:
			code = exitFailure
		}
		failed = append(failed, fmt.Sprintf("%s: %s", addr, words(err)))
	}
	switch {
	case len(failed) == 1 && code != exitUnreachable:
		return nil, &exitError{code, errors.New(failed[0])}
	case len(failed) == 1:
		return nil, &exitError{code, fmt.Errorf("no node answers at %s\nGive the address of one with --addr HOST:PORT or NDRING_ADDR", failed[0])}
	}
	return nil, &exitError{code, fmt.Errorf("no node of a cluster answers:\n  %s", strings.Join(failed, "\n  "))}
}

// askTopology asks a node for what it knows of its cluster.
func askTopology(ctx context.Context, c *redis.Client) (*told, error) {
	text, err := c.Do(ctx, "CLUSTER", "TOPOLOGY").Text()
	switch {
	case err == nil:
	case !lost(err) && rightsHint(err) == "":
		if info, infoErr := c.Do(ctx, "INFO", "server").Text(); infoErr == nil && !strings.Contains(info, "ndring_version:") {
			return nil, errors.New("that is no node of ndring")
		}
		return nil, err
	default:
		return nil, err
	}
	var t told
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return nil, fmt.Errorf("its answer to CLUSTER TOPOLOGY makes no sense: %w", err)
	}
	if t.Cluster == "" {
		waiting := "it is not part of a cluster yet"
		if t.Waiting != "" {
			waiting += ": it waits for " + t.Waiting
		}
		return nil, errors.New(waiting)
	}
	if !slices.ContainsFunc(t.Nodes, func(n toldNode) bool { return n.ID == t.Self }) { // what it knows is what was so when it left
		return nil, fmt.Errorf("it is not part of the cluster any more: it waits for %s", cmp.Or(t.Waiting, "a member that lets it in"))
	}
	return &t, nil
}

// meet makes the members. The node that was asked is known to answer where it was asked.
func (v *view) meet(entry *redis.Client) {
	for i := range v.told.Nodes {
		m := &member{toldNode: v.told.Nodes[i]}
		if m.Port != 0 {
			m.address = net.JoinHostPort(m.Host, strconv.Itoa(m.Port))
		}
		switch {
		case m.ID == v.told.Self:
			m.client, m.self = entry, true
			if m.address == "" {
				m.address = v.entry
			}
		case m.address != "":
			m.client = v.client(m.address)
		}
		v.nodes = append(v.nodes, m)
	}
	sortMembers(v.nodes)
}

// client returns the client of an address.
func (v *view) client(addr string) *redis.Client {
	if v.clients[addr] == nil {
		v.clients[addr] = v.app.client(addr, v.password)
	}
	return v.clients[addr]
}

// close ends all connections.
func (v *view) close() {
	for _, c := range v.clients {
		c.Close() // nobody waits for anything any more
	}
}

// deadTime is how long a node is tried that the others see dead: they may be wrong.
const deadTime = time.Second

var errNoAddress = errors.New("it tells no address for clients of the listener that was asked")

// do has one node do a command.
func (m *member) do(ctx context.Context, args ...any) *redis.Cmd {
	if m.client == nil {
		cmd := redis.NewCmd(ctx, args...)
		cmd.SetErr(errNoAddress)
		return cmd
	}
	if !m.Up {
		short, cancel := context.WithTimeout(ctx, deadTime)
		defer cancel()
		ctx = short
	}
	return m.client.Do(ctx, args...)
}

// decisionTime is within what a node answers whether the cluster has decided on a change.
const decisionTime = 10 * time.Second

// decide has one node propose a change of the cluster, and waits for as long as that takes; also until there is a leader, if there is a majority for one.
// Look is where to see what has become of a change of which it is not known.
func (v *view) decide(ctx context.Context, m *member, look string, args ...any) error {
	if m.client == nil {
		return errNoAddress
	}
	patient := m.client.WithTimeout(v.app.timeout + decisionTime)
	for ends := time.Now().Add(v.app.timeout); ; {
		err := patient.Do(ctx, args...).Err()
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case leaderless(err) && v.told.Quorum && time.Now().Before(ends) && wait(ctx, againAfter):
			continue
		case strings.HasPrefix(err.Error(), "UNCERTAIN "):
			return &undecidedError{"UNCERTAIN, the cluster has not decided in time", look}
		case lost(err) && !undialled(err):
			why := "the node has ended the connection"
			if late(err) {
				why = "the node does not answer in time"
			}
			return &undecidedError{why, look}
		}
		return err
	}
}

// leaderless reports whether an error is that nobody leads at the moment, so that nothing was done.
func leaderless(err error) bool {
	return strings.HasPrefix(err.Error(), "ERR the cluster has no leader") || strings.Contains(err.Error(), " leads the cluster but does not answer")
}

// undecidedError is that of a change of which it is not known what becomes of it.
type undecidedError struct{ why, look string }

func (e *undecidedError) Error() string {
	return fmt.Sprintf("%s: it may have been done, or may still be; %s", e.why, e.look)
}
