package ndctl

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/view"
)

// source is the Redis server or cluster that arrays are copied from.
type source struct {
	nodes []*redis.Client // the server, or the primaries of the cluster
	slots int             // slots that these serve; 0 for a single server
	exact bool            // it knows when keys expire (PEXPIRETIME, Redis 7)
}

// sourceTimeout bounds one reply of the source.
const sourceTimeout = 30 * time.Second

// openSource connects to a Redis server or cluster.
func openSource(ctx context.Context, url string) (*source, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		shown := withoutPassword(url)
		if shown != url { // the error may quote any part of it
			err = errors.New("percent-encode what is special in user and password")
		}
		return nil, usageError("%q is not the URL of a Redis server (redis://[user:password@]host:port[/db], rediss://, unix://): %v", shown, err)
	}
	options.ReadTimeout, options.DialTimeout, options.DialerRetries, options.Protocol, options.DisableIdentity = sourceTimeout, 5*time.Second, 1, 2, true
	one := redis.NewClient(options)
	s := &source{nodes: []*redis.Client{one}, exact: true}
	text, err := one.Info(ctx).Result()
	fields := parseInfo(text)
	switch {
	case err != nil:
	case fields["ndring_version"] != "":
		err = errors.New("this is an ndring node, not Redis")
	case fields["cluster_enabled"] == "1":
		err = s.openCluster(ctx, options)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("the source at %s: %s", options.Addr, explainSource(err))
	}
	for _, n := range s.nodes {
		if err := n.Do(ctx, "PEXPIRETIME", "k").Err(); err != nil && strings.Contains(strings.ToLower(err.Error()), "unknown command") {
			s.exact = false
		}
	}
	return s, nil
}

// openCluster finds the primaries of a Redis Cluster.
func (s *source) openCluster(ctx context.Context, options *redis.Options) error {
	reply, err := s.nodes[0].Do(ctx, "CLUSTER", "SLOTS").Slice()
	if err != nil {
		return err
	}
	asked, _, _ := net.SplitHostPort(options.Addr)
	known := map[string]bool{}
	var nodes []*redis.Client
	for _, row := range reply {
		count, addr := primaryOf(row, asked)
		s.slots += count
		if count > 0 && !known[addr] {
			known[addr] = true
			own := *options
			own.Network, own.Addr = "tcp", addr
			nodes = append(nodes, redis.NewClient(&own))
		}
	}
	if len(nodes) == 0 {
		return errors.New("it is a node of a Redis Cluster in which no slot has a primary: see CLUSTER INFO")
	}
	s.close()
	s.nodes = nodes
	return nil
}

// primaryOf reads a row of CLUSTER SLOTS: the number of its slots and the address of their primary.
// A node that does not know its own host is at the host that was asked.
func primaryOf(row any, asked string) (slots int, addr string) {
	parts, _ := row.([]any)
	if len(parts) < 3 {
		return 0, ""
	}
	first, _ := parts[0].(int64)
	last, _ := parts[1].(int64)
	primary, _ := parts[2].([]any)
	if len(primary) < 2 {
		return 0, ""
	}
	host, _ := primary[0].(string)
	port, _ := primary[1].(int64)
	return int(last - first + 1), net.JoinHostPort(cmp.Or(host, asked), strconv.FormatInt(port, 10))
}

func (s *source) close() {
	for _, c := range s.nodes {
		c.Close() // the source was only read
	}
}

// explainSource says in one line what is wrong with the source. Its user and password are in its
// URL, so the hints of explain do not apply.
func explainSource(err error) string {
	switch hint := rightsHint(err); {
	case hint == "":
		return explain(err)
	case strings.HasPrefix(err.Error(), "NOAUTH "):
		return "a password is required: redis://:PASSWORD@HOST:PORT"
	}
	return view.OneLine(err.Error())
}

// withoutPassword returns a URL that may be shown.
func withoutPassword(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	at := strings.LastIndexByte(rest, '@')
	if !ok || at < 0 {
		return url
	}
	return scheme + "://..." + rest[at:]
}

const (
	npyMagic  = "\x93NUMPY"
	peekBytes = 16 // enough to tell an array from anything else
)

// notAnArray says why a value with these first bytes is not copied, or "" if it may be an array.
func notAnArray(start []byte, size, limit int64) string {
	switch {
	case bytes.HasPrefix(start, []byte(npyMagic)) && size > limit:
		return fmt.Sprintf("larger than --max-array-bytes %d", limit)
	case bytes.HasPrefix(start, []byte(npyMagic)):
		return ""
	case len(start) == 0:
		return "an empty string"
	case bytes.HasPrefix(start, []byte("PK\x03\x04")):
		return "a zip file, as np.savez writes it; save its arrays one by one"
	case len(start) > 1 && start[0] == 0x80 && start[1] <= 5:
		return "a pickle, which is never loaded"
	}
	return "not a .npy file"
}

// candidate is a key whose value may be an array.
type candidate struct {
	key  string
	size int64
}

// candidates inspects keys without fetching their values. It returns those that may be arrays and
// reports the others.
func candidates(ctx context.Context, from *redis.Client, keys []string, limit int64, r *importReport) (all []candidate, err error) {
	p := from.Pipeline()
	kinds := make([]*redis.StatusCmd, len(keys))
	for i, k := range keys {
		kinds[i] = p.Type(ctx, k)
	}
	if _, err := p.Exec(ctx); err != nil && isConnectionError(err) {
		return nil, err
	}
	var strings []string
	for i, k := range keys {
		switch kind, err := kinds[i].Result(); {
		case err != nil:
			r.refused(k, err)
		case kind == "none":
			r.expired()
		case kind != "string":
			r.skip(k, kind, -1, fmt.Sprintf("a %s, not a string", kind), "", false)
		default:
			strings = append(strings, k)
		}
	}
	return peek(ctx, from, strings, limit, r)
}

// peek inspects the sizes and first bytes of strings.
func peek(ctx context.Context, from *redis.Client, keys []string, limit int64, r *importReport) (all []candidate, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	p := from.Pipeline()
	type look struct {
		size   *redis.IntCmd
		start  *redis.StringCmd
		exists *redis.IntCmd
	}
	looks := make([]look, len(keys))
	for i, k := range keys {
		looks[i] = look{p.StrLen(ctx, k), p.GetRange(ctx, k, 0, peekBytes-1), p.Exists(ctx, k)}
	}
	if _, err := p.Exec(ctx); err != nil && isConnectionError(err) {
		return nil, err
	}
	for i, k := range keys {
		size, err := looks[i].size.Result()
		start, startErr := looks[i].start.Bytes()
		reason := notAnArray(start, size, limit)
		switch {
		case err != nil || startErr != nil:
			r.refused(k, errors.Join(err, startErr))
		case size == 0 && looks[i].exists.Val() == 0:
			r.expired()
		case reason != "":
			r.skip(k, "string", size, reason, "", false)
		default:
			all = append(all, candidate{k, size})
		}
	}
	return all, nil
}
