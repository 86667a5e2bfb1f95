package ndctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxRedirects = 5
	minRate      = 1 << 20 // bytes per second: a transfer may take the timeout plus its size at this rate
)

// doForKey executes a command on the node that serves a key, and follows redirects. Bytes is about
// how much the command transfers.
func (s *session) doForKey(ctx context.Context, key string, bytes int64, args ...any) *redis.Cmd {
	_, shard := s.cluster.Locate(key)
	m := s.member(s.cluster.Shards[shard].Primary)
	if m == nil || m.client == nil {
		m = s.self() // answers why the shard is not served
	}
	client := m.client
	timeout := s.options.timeout + time.Duration(bytes/minRate)*time.Second
	deadline := time.Now().Add(timeout)
	for redirects := 0; ; {
		cmd := client.WithTimeout(timeout).Do(ctx, args...)
		err := cmd.Err()
		if err == nil || isConnectionError(err) {
			if err != nil && m != nil {
				cmd.SetErr(&nodeError{m, err})
			}
			return cmd
		}
		switch text := err.Error(); {
		case strings.HasPrefix(text, "MOVED ") && redirects < maxRedirects:
			redirects++
			addr, ok := redirectAddress(text)
			if !ok {
				return cmd
			}
			m, client = nil, s.client(addr)
		case strings.HasPrefix(text, "TRYAGAIN ") || strings.HasPrefix(text, "LOADING "):
			if time.Now().After(deadline) || !sleep(ctx, retryInterval) {
				return cmd
			}
		default:
			return cmd
		}
	}
}

// nodeError reports that a node could not be reached, or did not answer.
type nodeError struct {
	node *member
	err  error
}

func (e *nodeError) Error() string {
	return fmt.Sprintf("%s (%s): %s", e.node.Label(), e.node.address, explain(e.err))
}

// redirectAddress returns the address in MOVED slot host:port, where an IPv6 address has no brackets.
func redirectAddress(text string) (string, bool) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return "", false
	}
	colon := strings.LastIndexByte(fields[2], ':')
	if colon < 1 {
		return "", false
	}
	return net.JoinHostPort(fields[2][:colon], fields[2][colon+1:]), true
}

// meta is the reply to NP.META.
type meta struct {
	shape             []int64
	dtype             string
	nbytes, npy, pttl int64
	version           string
	extras            bool // the value has attrs or parts
}

// meta describes an array without transferring its data. It returns nil if the key does not exist.
func (s *session) meta(ctx context.Context, key string) (*meta, error) {
	reply, err := s.doForKey(ctx, key, 0, "NP.META", key).Slice()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseMeta(reply), nil
}

func parseMeta(reply []any) *meta {
	m := &meta{}
	number := func(x any) int64 { n, _ := x.(int64); return n }
	word := func(x any) string { s, _ := x.(string); return s }
	for i := 0; i+1 < len(reply); i += 2 {
		value := reply[i+1]
		switch word(reply[i]) {
		case "shape":
			all, _ := value.([]any)
			m.shape = []int64{}
			for _, n := range all {
				m.shape = append(m.shape, number(n))
			}
		case "dtype":
			m.dtype = word(value)
		case "nbytes":
			m.nbytes = number(value)
		case "npy_bytes":
			m.npy = number(value)
		case "pttl":
			m.pttl = number(value)
		case "version":
			m.version = word(value)
		case "attrs":
			m.extras = m.extras || value != nil
		case "parts":
			parts, _ := value.([]any)
			m.extras = m.extras || len(parts) > 0
		}
	}
	return m
}
