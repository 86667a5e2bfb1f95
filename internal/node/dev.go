package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/ndring/ndring/protocol"
)

// maxDev is the largest --dev.
const maxDev = 16

// dev is a cluster in one process, to try things out and for tests.
type dev struct {
	config Config
	log    *slog.Logger
	level  *slog.LevelVar
	nodes  []*Node
	dir    string        // temporary
	lock   *os.File      // in dir
	stop   chan struct{} // closed when one node is asked to shut down, and by Close
	once   sync.Once     // closes stop
}

func newDev(config Config, log *slog.Logger, level *slog.LevelVar) *dev {
	return &dev{config: config, log: log, level: level, stop: make(chan struct{})}
}

// Open starts the nodes and returns when all of them serve. After an error none is left running.
func (d *dev) Open(ctx context.Context) (err error) {
	if d.dir, d.lock, err = devFolder(os.TempDir(), d.log); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return errors.Join(err, d.Close(ctx))
	}
	var addresses []string
	for _, n := range d.nodes {
		addresses = append(addresses, n.ClientAddrs()[0].String())
	}
	d.log.Info("the cluster is ready", "nodes", len(d.nodes), "clients", strings.Join(addresses, " "), "dir", d.dir)
	return nil
}

func (d *dev) open(ctx context.Context) error {
	for i := range d.config.Dev {
		n := New(d.nodeConfig(i), d.log.With("dev", i+1), d.level)
		if err := n.Start(ctx); err != nil {
			return err
		}
		d.nodes = append(d.nodes, n)
		go func() {
			select {
			case <-n.ShutdownAsked():
				d.once.Do(func() { close(d.stop) })
			case <-d.stop:
			}
		}()
	}
	failures := make([]error, len(d.nodes))
	var wait sync.WaitGroup
	for i, n := range d.nodes {
		wait.Go(func() { failures[i] = n.Ready(ctx) })
	}
	wait.Wait()
	return errors.Join(failures...)
}

// nodeConfig returns the configuration of node i. The first node listens on the given ports, the others on the ports
// after them.
func (d *dev) nodeConfig(i int) Config {
	c := d.config
	c.Dev = 0
	if c.Port != 0 {
		c.Port += i
	}
	if i > 0 {
		c.HTTPPort, c.HTTP.Pprof = 0, 0
		host, port := d.nodes[0].cluster.GossipAddress()
		c.Cluster.Join = []string{net.JoinHostPort(host, strconv.Itoa(port))}
	}
	c.Listen = []ListenerConfig{{Name: "default", Address: joinHostPort(c.Bind, c.Port)}}
	c.NodeID = fmt.Sprintf("dev-%d", i+1)
	c.Dir = filepath.Join(d.dir, c.NodeID)
	c.Cluster.BusPort, c.Cluster.GossipPort, c.Cluster.Expect = 0, 0, d.config.Dev
	return c
}

// ShutdownAsked is closed when a client has asked one of the nodes for a shutdown.
func (d *dev) ShutdownAsked() <-chan struct{} { return d.stop }

// Failure returns why one of the nodes must stop; nil after a client has asked for it.
func (d *dev) Failure() error {
	for _, n := range d.nodes {
		if err := n.Failure(); err != nil {
			return err
		}
	}
	return nil
}

// Close stops all nodes and removes their data.
func (d *dev) Close(ctx context.Context) error {
	d.once.Do(func() { close(d.stop) })
	failures := make([]error, len(d.nodes))
	var wait sync.WaitGroup
	for i, n := range d.nodes {
		n.Shutdown(protocol.ShutdownNoSave | protocol.ShutdownNow) // the folders are removed, and all nodes stop
		wait.Go(func() { failures[i] = n.Close(ctx) })
	}
	wait.Wait()
	return errors.Join(append(failures, os.RemoveAll(d.dir), d.lock.Close())...)
}
