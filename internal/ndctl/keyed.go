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
	againAfter   = 100 * time.Millisecond // TRYAGAIN and LOADING
	slowest      = 1 << 20                // bytes a second that a connection must do at least
)

// keyed has the node that serves a key do a command, wherever that is by now. Bytes is about how much goes over the network.
func (v *view) keyed(ctx context.Context, key string, bytes int64, args ...any) *redis.Cmd {
	_, _, row := v.shardOf(key)
	m := v.byID(row.Primary)
	if m == nil || m.client == nil {
		m = v.byID(v.told.Self) // it says why
	}
	client := m.client
	limit := v.app.timeout + time.Duration(bytes/slowest)*time.Second
	ends := time.Now().Add(limit)
	for redirects := 0; ; {
		cmd := client.WithTimeout(limit).Do(ctx, args...)
		err := cmd.Err()
		if err == nil || lost(err) {
			if err != nil && m != nil {
				cmd.SetErr(&nodeError{m, err})
			}
			return cmd
		}
		switch text := err.Error(); {
		case strings.HasPrefix(text, "MOVED ") && redirects < maxRedirects:
			redirects++
			addr, ok := movedTo(text)
			if !ok {
				return cmd
			}
			m, client = nil, v.client(addr)
		case strings.HasPrefix(text, "TRYAGAIN ") || strings.HasPrefix(text, "LOADING "):
			if time.Now().After(ends) || !wait(ctx, againAfter) {
				return cmd
			}
		default:
			return cmd
		}
	}
}

// nodeError is an error of the way to one node.
type nodeError struct {
	node *member
	err  error
}

func (e *nodeError) Error() string {
	return fmt.Sprintf("%s (%s): %s", e.node.label(), e.node.address, words(e.err))
}

// movedTo returns the address in MOVED slot host:port; an IPv6 address stands there without brackets.
func movedTo(text string) (string, bool) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return "", false
	}
	at := strings.LastIndexByte(fields[2], ':')
	if at < 1 {
		return "", false
	}
	return net.JoinHostPort(fields[2][:at], fields[2][at+1:]), true
}

// wait reports false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// meta is what NP.META tells.
type meta struct {
	shape             []int64
	dtype             string
	nbytes, npy, pttl int64
	version           string
	extras            bool // attrs or parts
}

// meta returns what is known of an array without its data; nil if it does not exist.
func (v *view) meta(ctx context.Context, key string) (*meta, error) {
	reply, err := v.keyed(ctx, key, 0, "NP.META", key).Slice()
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
