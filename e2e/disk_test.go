//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/ndring/ndring/internal/loadtest"
)

const reserve = 128 << 20 // disk-reserve by default

// A node whose disk is full says so and what to do, and still serves reads and deletes. The others are not
// affected. Once there is room again, the node accepts writes without help.
func TestFullDisk(t *testing.T) {
	c, err := newCluster(project+"-disk", "docker-compose.yml:e2e/small-disk.yml", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.saveLogs(t)
		}
		c.run(t, "scripts/e2e-clean", c.project)
	})
	c.whole(t)
	r := chance(t)
	node := c.node(t, 1)
	all, full := data{}, ""
	for i := 0; full == ""; i++ {
		key, value := fmt.Sprint("fills ", i), loadtest.Array(r.Uint64(), 4<<20)
		err := node.Do(t.Context(), "NP.SET", key, value).Err()
		switch {
		case err == nil:
			all[key] = value
		case strings.HasPrefix(err.Error(), "DISKFULL "):
			full = err.Error()
		case !strings.HasPrefix(err.Error(), "MOVED "):
			t.Fatalf("%q: %v", key, err)
		}
		if len(all) > 64 {
			t.Fatalf("%d arrays of 4 MiB fit on a disk of 256 MiB", len(all))
		}
	}
	t.Logf("after %d arrays of 4 MiB: %s", len(all), full)
	for _, hint := range []string{"disk-reserve", "delete keys"} {
		if !strings.Contains(full, hint) {
			t.Errorf("the error does not say what to do: it lacks %q", hint)
		}
	}
	if err := all.served(t.Context(), node); err != nil {
		t.Errorf("reads fail: %v", err)
	}
	others, still := 0, 0
	client := c.client(r)
	defer client.Close()
	for i := range 60 {
		err := client.Do(t.Context(), "NP.SET", fmt.Sprint("others ", i), loadtest.Array(1, 1000)).Err()
		switch {
		case err == nil:
			others++
		case strings.HasPrefix(err.Error(), "DISKFULL "):
			still++
		default:
			t.Errorf("%v", err)
		}
	}
	if others < 30 || still == 0 {
		t.Errorf("%d writes succeeded and %d failed with DISKFULL, although four of five nodes have room", others, still)
	}
	c.whole(t) // a full disk does not make a node leave

	// The node checks its disk at intervals, so it has gone below the reserve by more than one array.
	var disk unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root/data", c.inspect(t, c.container(t, 1)).State.Pid), &disk); err != nil {
		t.Fatalf("the engine must run on this machine: %v", err)
	}
	room := int64(disk.Bavail) * disk.Bsize
	if room >= reserve {
		t.Errorf("%d bytes are free: the disk is not full", room)
	}
	for key, value := range all {
		if room >= reserve+4<<20 {
			break
		}
		if err := node.Do(t.Context(), "NP.DEL", key).Err(); err != nil {
			t.Fatalf("deletes fail: %v", err)
		}
		delete(all, key)
		room += int64(len(value))
	}
	key := own(t.Context(), t, node)
	eventually(t, "node1 takes writes again", func() error { return node.Do(t.Context(), "NP.SET", key, loadtest.Array(2, 1000)).Err() })
	if err := all.served(t.Context(), node); err != nil {
		t.Errorf("at the end: %v", err)
	}
}

// own returns an unused key that a node serves.
func own(ctx context.Context, t *testing.T, node *redis.Client) string {
	t.Helper()
	for i := range 1000 {
		key := fmt.Sprint("own ", i)
		if err := node.Do(ctx, "NP.META", key).Err(); errors.Is(err, redis.Nil) {
			return key
		}
	}
	t.Fatal("a node of five has none of 1000 keys")
	return ""
}
