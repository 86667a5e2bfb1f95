package clusters

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RedisOptions describes a Redis Cluster of three primaries with one replica each.
type RedisOptions struct {
	NodeTimeout time.Duration // cluster-node-timeout
}

// Redis starts a Redis Cluster of six processes, with an append-only file that is synced every
// second, and returns once it is healthy.
func Redis(o RedisOptions) (*Cluster, error) {
	const nodes, portsEach = 6, 2
	ports, err := freePorts(nodes * portsEach)
	if err != nil {
		return nil, err
	}
	all := make([]*Node, nodes)
	for i := range all {
		all[i] = &Node{Name: loopback(ports[i*portsEach]), Addr: loopback(ports[i*portsEach])} // CLUSTER NODES names them by address
	}
	c, err := newCluster("Redis Cluster", "", all...)
	if err != nil {
		return nil, err
	}
	c.Set, c.Get = "SET", "GET"
	c.view = c.redisView
	c.move = func(n *Node) error {
		_, err := n.ask("CLUSTER", "FAILOVER")
		return err
	}
	create := []string{"--cluster", "create"}
	for i, n := range all {
		port, bus := strconv.Itoa(ports[i*portsEach]), strconv.Itoa(ports[i*portsEach+1])
		n.command = []string{
			"redis-server", "--port", port, "--cluster-port", bus, "--bind", "127.0.0.1", "--daemonize", "no", "--save", "", "--appendonly", "yes",
			"--appendfsync", "everysec", "--dir", filepath.Join(c.dir, n.Name), "--cluster-enabled", "yes", "--cluster-node-timeout", strconv.FormatInt(o.NodeTimeout.Milliseconds(), 10),
		}
		create = append(create, n.Addr)
	}
	if err = c.startAll(); err == nil {
		err = c.create(append(create, "--cluster-replicas", "1", "--cluster-yes"))
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, c.Logs())
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) create(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*startLimit)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "redis-cli", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("redis-cli --cluster create: %w: %s", err, out)
	}
	return c.WaitHealthy(2, startLimit)
}

// redisView asks a node for CLUSTER NODES, and each replica whether its link is up: CLUSTER NODES
// does not tell whether a replica has its copy.
func (c *Cluster) redisView(n *Node) (*View, error) {
	text, err := n.ask("CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	info, err := n.ask("CLUSTER", "INFO")
	if err != nil {
		return nil, err
	}
	return parseRedis(text, info, func(name string) bool { return c.linked(name) })
}

// linked reports whether a replica has its primary's data and is connected to it, as both say. After a full
// synchronization the primary keeps new writes back until the replica has acknowledged it, up to a second
// after the replica says that the link is up.
func (c *Cluster) linked(name string) bool {
	n := c.Node(name)
	if n == nil {
		return false
	}
	info, err := n.ask("INFO", "replication")
	if err != nil || infoField(info, "master_link_status") != "up" {
		return false
	}
	primary := c.Node(net.JoinHostPort(infoField(info, "master_host"), infoField(info, "master_port")))
	if primary == nil {
		return false
	}
	info, err = primary.ask("INFO", "replication")
	_, port, _ := net.SplitHostPort(n.Addr)
	return err == nil && strings.Contains(info, ",port="+port+",state=online,")
}

// infoField returns a field of INFO, or an empty string.
func infoField(info, name string) string {
	for _, line := range strings.Split(info, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return value
		}
	}
	return ""
}

// parseRedis reads CLUSTER NODES and CLUSTER INFO.
func parseRedis(nodes, info string, linked func(name string) bool) (*View, error) {
	v := &View{}
	if !strings.Contains(info, "cluster_state:ok") {
		v.issue = errors.New("cluster_state is not ok")
	}
	replicas := map[string][]string{} // by the id of the primary
	var owners []string               // of v.ranges, by id
	for _, line := range strings.Split(strings.TrimSpace(nodes), "\n") {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("CLUSTER NODES has a line of %d words", len(f))
		}
		name, _, _ := strings.Cut(f[1], "@")
		flags := strings.Split(f[2], ",")
		if slices.Contains(flags, "fail") || slices.Contains(flags, "fail?") || slices.Contains(flags, "handshake") || f[7] != "connected" {
			v.issue = fmt.Errorf("%s is %s, %s", name, f[2], f[7])
			if slices.Contains(flags, "slave") {
				continue
			}
		}
		if slices.Contains(flags, "slave") {
			if linked(name) {
				replicas[f[3]] = append(replicas[f[3]], name)
			}
			continue
		}
		for _, part := range f[8:] {
			if strings.HasPrefix(part, "[") { // a slot that moves
				continue
			}
			first, last, both := strings.Cut(part, "-")
			if !both {
				last = first
			}
			r := slotRange{primary: name}
			r.first, _ = strconv.Atoi(first)
			r.last, _ = strconv.Atoi(last)
			v.ranges, owners = append(v.ranges, r), append(owners, f[0])
		}
	}
	for i, id := range owners {
		v.ranges[i].replicas = replicas[id]
		if copies := 1 + len(replicas[id]); i == 0 || copies < v.Copies {
			v.Copies = copies
		}
	}
	return v, nil
}
