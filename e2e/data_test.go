//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/loadtest"
)

// data is the expected contents of a cluster: bytes by key.
type data map[string]string

// fill stores arrays on all nodes, including large ones, each of which is a file on disk.
func (c *cluster) fill(t testing.TB, r *rand.Rand) data {
	t.Helper()
	client := c.client(r)
	defer client.Close()
	all := data{}
	for i := range 400 {
		size := 1 + r.IntN(8000)
		if i%40 == 0 {
			size = 1<<20 + r.IntN(1<<20)
		}
		key := fmt.Sprintf("%s %d", t.Name(), i)
		all[key] = loadtest.Array(r.Uint64(), size)
		if err := client.Do(t.Context(), "NP.SET", key, all[key]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// of returns the keys that a node serves.
func (d data) of(t testing.TB, c *cluster, node int) (keys []string) {
	t.Helper()
	client := c.node(t, node)
	for key := range d {
		if err := client.Do(t.Context(), "NP.META", key).Err(); err == nil {
			keys = append(keys, key)
		} else if !strings.HasPrefix(err.Error(), "MOVED ") {
			t.Fatalf("%s: %v", name(node), err)
		}
	}
	if len(keys) == 0 {
		t.Fatalf("%s has none of %d keys", name(node), len(d))
	}
	return keys
}

// without returns the data without some keys.
func (d data) without(keys []string) data {
	rest := data{}
	for key, want := range d {
		rest[key] = want
	}
	for _, key := range keys {
		delete(rest, key)
	}
	return rest
}

// served checks that the cluster serves all data, bit for bit.
func (d data) served(ctx context.Context, client redis.UniversalClient) error {
	for key, want := range d {
		got, err := client.Do(ctx, "NP.GET", key).Text()
		switch {
		case errors.Is(err, redis.Nil):
			return fmt.Errorf("%q is lost", key)
		case err != nil:
			return fmt.Errorf("%q: %w", key, err)
		case got != want:
			return fmt.Errorf("%q differs from what was stored", key)
		}
	}
	return nil
}

// mustServe checks without waiting that the client on the host gets all data.
func (c *cluster) mustServe(t testing.TB, r *rand.Rand, d data) {
	t.Helper()
	client := c.client(r)
	defer client.Close()
	if err := d.served(t.Context(), client); err != nil {
		t.Fatal(err)
	}
}
