package node

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// clientOf is a client of one node.
func clientOf(t *testing.T, n *Node) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: n.ClientAddrs()[0].String(), MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

// infoOf returns the fields of a section of INFO.
func infoOf(ctx context.Context, c *redis.Client, section string) map[string]string {
	fields := map[string]string{}
	for _, line := range strings.Split(c.Info(ctx, section).Val(), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// storeAt stores arrays through nodes.
func (a arrays) storeAt(t *testing.T, nodes []*Node) {
	t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.ClientAddrs()[0].String())
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 8, ReadTimeout: 20 * time.Second})
	defer c.Close()
	a.store(t, c)
}

var slaveField = regexp.MustCompile(`^ip=([^,]+),port=(\d+),state=online,offset=(\d+),lag=\d+$`)

// showsReplicas says what is amiss with what a node shows of its replicas. At rest they have everything, and INFO and ROLE agree.
func showsReplicas(ctx context.Context, c *redis.Client, ports []string) string {
	info := infoOf(ctx, c, "replication")
	offset, _ := strconv.ParseInt(info["master_repl_offset"], 10, 64)
	if info["role"] != "master" || info["connected_slaves"] != strconv.Itoa(len(ports)) || offset == 0 {
		return fmt.Sprint("INFO: ", info)
	}
	var shown []string
	replicas := []any{} // as ROLE has them
	for i := range ports {
		found := slaveField.FindStringSubmatch(info["slave"+strconv.Itoa(i)])
		if found == nil || found[1] != "127.0.0.1" || found[3] != info["master_repl_offset"] {
			return fmt.Sprintf("INFO: slave%d:%s behind master_repl_offset:%d", i, info["slave"+strconv.Itoa(i)], offset)
		}
		shown = append(shown, found[2])
		replicas = append(replicas, []any{found[1], found[2], found[3]})
	}
	if slices.Sort(shown); !slices.Equal(shown, ports) {
		return fmt.Sprintf("INFO: replicas on ports %v, not %v", shown, ports)
	}
	role, err := c.Do(ctx, "ROLE").Slice()
	if got, want := fmt.Sprintf("%#v", role), fmt.Sprintf("%#v", []any{"master", offset, replicas}); err != nil || got != want {
		return fmt.Sprintf("ROLE: %s, %v, not %s", got, err, want)
	}
	return ""
}

// Each node of a cluster with two copies shows its replicas, and where they are, as a master of Redis does.
func TestNodesShowTheirReplicas(t *testing.T) {
	t.Parallel()
	nodes := openCopied(t)
	arraysCalled("copied", 100).storeAt(t, nodes)
	primary, replica := 0, 0
	for _, n := range nodes {
		var others []string
		for _, other := range nodes {
			if other != n {
				others = append(others, portOf(t, other))
			}
		}
		slices.Sort(others)
		c := clientOf(t, n)
		eventually(t, n.config.NodeID+" shows its replicas", nil, func() string { return showsReplicas(t.Context(), c, others) })
		var info map[string]string
		var led, copies int
		undisturbed(t, nodes, func() {
			info, led, copies = infoOf(t.Context(), c, "replication"), 0, 0
			for _, s := range n.Topology().Shards {
				switch {
				case s.Primary == n.id:
					led++
				case slices.Contains(s.ISR, n.id), slices.Contains(s.Learners, n.id):
					copies++
				}
			}
		})
		if info["shards_primary"] != strconv.Itoa(led) || info["shards_replica"] != strconv.Itoa(copies) {
			t.Errorf("%s leads %d shards and has copies of %d others: %v", n.config.NodeID, led, copies, info)
		}
		primary, replica = primary+led, replica+copies
	}
	if primary != 16 || replica != 16 {
		t.Errorf("the nodes lead %d shards and have copies of %d, of 16 shards with two copies", primary, replica)
	}
}

// A node that leads no shard shows itself as a slave of Redis does, of the node that leads its shards.
func TestANodeThatLeadsNothingIsASlave(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 2, "--replicas", "2", "--shards", "16")
	awaitTopology(t, nodes, eachTwice)
	arraysCalled("copied", 100).storeAt(t, nodes)
	if got, err := clientOf(t, nodes[1]).Do(t.Context(), "CLUSTER", "FAILOVER").Text(); got != "OK" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	awaitTopology(t, nodes, func(topo *topology.Topology) bool { return primaries(topo)[nodes[1].id] == 16 })
	c, port := clientOf(t, nodes[0]), portOf(t, nodes[1])
	eventually(t, "the first node is a slave", nil, func() string {
		info := infoOf(t.Context(), c, "replication")
		for name, want := range map[string]string{"role": "slave", "master_host": "127.0.0.1", "master_port": port, "master_link_status": "up",
			"connected_slaves": "0", "shards_primary": "0", "shards_replica": "16", "master_repl_offset": info["slave_repl_offset"]} {
			if info[name] != want {
				return fmt.Sprintf("%s is not %q: %v", name, want, info)
			}
		}
		offset, _ := strconv.ParseInt(info["slave_repl_offset"], 10, 64)
		number, _ := strconv.ParseInt(port, 10, 64)
		role, err := c.Do(t.Context(), "ROLE").Slice()
		if got, want := fmt.Sprintf("%#v", role), fmt.Sprintf("%#v", []any{"slave", "127.0.0.1", number, "connected", offset}); err != nil || got != want || offset == 0 {
			return fmt.Sprintf("ROLE: %s, %v, not %s", got, err, want)
		}
		return ""
	})
}
