package clusters

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// PairOptions describes a primary of Redis or Valkey with one replica, without Redis Cluster.
type PairOptions struct {
	Name    string
	Program string // in Root
	Root    string // a root file system to run it in; empty: this one
	Log     bool   // an append-only file that is synced every second; otherwise nothing is kept on disk
}

// Pair starts a primary, the first node, and its replica, and returns once the replica is connected.
func Pair(o PairOptions) (*Cluster, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	parent := ""
	if o.Root != "" {
		parent = filepath.Join(o.Root, "tmp")
	}
	nodes := []*Node{{Name: "primary", Addr: loopback(ports[0])}, {Name: "replica", Addr: loopback(ports[1])}}
	c, err := newCluster(o.Name, parent, nodes...)
	if err != nil {
		return nil, err
	}
	c.Set, c.Get = "SET", "GET"
	c.view = func(*Node) (*View, error) { return pairView(nodes[1]) }
	c.move = func(*Node) error { return errors.New("a pair has no failover") }
	logged := "no"
	if o.Log {
		logged = "yes"
	}
	for i, n := range nodes {
		if o.Root != "" {
			n.command = []string{"chroot", o.Root}
		}
		dir := strings.TrimPrefix(filepath.Join(c.dir, n.Name), filepath.Clean(o.Root))
		n.command = slices.Concat(n.command, []string{
			o.Program, "--port", strconv.Itoa(ports[i]), "--bind", "127.0.0.1", "--daemonize", "no", "--save", "", "--dir", dir, "--appendonly", logged,
			"--appendfsync", "everysec", "--repl-diskless-sync-delay", "0",
		})
	}
	host, port, _ := net.SplitHostPort(nodes[0].Addr)
	nodes[1].command = append(nodes[1].command, "--replicaof", host+" "+port)
	if err = c.startAll(); err == nil {
		err = c.WaitHealthy(2, startLimit)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, c.Logs())
		c.Close()
		return nil, err
	}
	return c, nil
}

func pairView(replica *Node) (*View, error) {
	info, err := replica.ask("INFO", "replication")
	if err != nil {
		return nil, err
	}
	r := slotRange{last: Slots - 1, primary: "primary"}
	v := &View{Copies: 1}
	if strings.Contains(info, "master_link_status:up") {
		v.Copies, r.replicas = 2, []string{"replica"}
	}
	v.ranges = []slotRange{r}
	return v, nil
}
