package ndctl

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// reads reads the JSON of a command.
func reads[T any](c *testCluster, args ...string) (value T) {
	c.t.Helper()
	r := c.run(c.env(), append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.out), &value); err != nil || r.code != 0 {
		c.t.Fatalf("ndctl %v --json: %v %+v", args, err, r)
	}
	return value
}

// copiesOn returns how many copies a node has.
func (c *testCluster) copiesOn(name string) (n int) {
	c.t.Helper()
	for _, row := range reads[nodeReports](c, "nodes") {
		if row.Name == name {
			n = row.Shards + row.Replicas
		}
	}
	return n
}

// Real nodes carry out what the commands that move copies order: a node is drained, gets its share again, and gets one shard more.
func TestMovesOnACluster(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	c := startCluster(t, 4)
	npy := file(t, npyOf(5000))
	for i := range 64 {
		if r := c.run(c.env(), "put", "k"+strconv.Itoa(i), npy); r.code != 0 {
			t.Fatalf("put: %+v", r)
		}
	}
	does := func(want string, args ...string) {
		t.Helper()
		if r := c.run(c.env(), args...); r.code != 0 || !matches(r.out, want) || r.err != "" {
			t.Fatalf("ndctl %v: %+v", args, r)
		}
	}
	share := c.copiesOn("n3")
	does("8 -> 0", "drain", "n3", "--plan")
	does("n3 has no copies any more", "drain", "n3", "--yes", "--wait")
	if n := c.copiesOn("n3"); n != 0 || share != 8 {
		t.Errorf("n3 had %d copies and has %d after it was drained", share, n)
	}
	does("no copy moves", "rebalance", "--yes") // it stays drained
	does("n3 may have copies again", "undrain", "n3")
	c.eventually("n3 has its share again", func() string { return strconv.Itoa(c.copiesOn("n3")) }, func(got string) bool { return got == strconv.Itoa(share) })
	c.eventually("nothing moves", func() string { return c.run(c.env(), "moves").out }, func(got string) bool { return got == "no copy is on its way\n" })

	row := reads[shardReports](c, "shards")[5]
	for _, to := range []string{"n1", "n2", "n3", "n4"} {
		if slices.Contains(row.InSync, to) {
			continue
		}
		does(to+" has a copy of shard 5", "move", "5", "--to", to, "--yes", "--wait")
		if now := reads[shardReports](c, "shards")[5]; now.Primary != to || len(now.InSync) != 2 {
			t.Errorf("shard 5 was moved to %s: %+v", to, now)
		}
		break
	}
	does("64 keys scanned", "bigkeys")
}
