package cluster

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// agreement is raft: the log of commands, and the topology that comes of it.
type agreement struct {
	*raft.Raft
	machine   *machine
	streams   *streams
	transport *transport
	stores    *stores
	local     string    // server id
	leads     chan bool // this node leads, or no longer does
	timing    Timing
}

const (
	rpcTimeout        = 2 * time.Second // of one exchange with another node; a cut network is noticed by the lease long before
	snapshotsKept     = 2
	snapshotThreshold = 1024            // log entries
	trailingLogs      = 1024            // entries kept behind a snapshot, for nodes that were away
	giveLeadTime      = 2 * time.Second // a leader whose disk hangs does not come to it
)

// keyTerm is where raft's stable store has the term.
const keyTerm = "CurrentTerm"

// openAgreement starts raft from what is in stores, which it closes. Servers are the first members of a new cluster; nil: there is one already, or the
// node waits to be told by its leader.
func openAgreement(local string, kept *stores, servers []server, s *streams, m *machine, timing Timing, log *slog.Logger) (*agreement, error) {
	a := &agreement{machine: m, streams: s, stores: kept, local: local, leads: make(chan bool, 16), timing: timing}
	logger := raftLogger(log)
	stable := &stubborn{StableStore: kept.stable, ended: s.context.Done(), hangs: s.mute, log: log}
	logs := &watchdog{LogStore: kept.logs, limit: hungDisk, ended: s.context.Done(), hangs: s.mute, log: log}
	a.transport = newTransport(&raft.NetworkTransportConfig{Logger: logger, Stream: s, MaxPool: 3, Timeout: rpcTimeout}, m.recovery)
	if err := a.start(logs, stable, kept.snapshots, servers, raftConfig(local, timing, logger, a.leads)); err != nil {
		return nil, errors.Join(err, a.transport.Close(), kept.close())
	}
	return a, nil
}

// serversIn returns the servers of the cluster whose log is in a folder; none if no log can be read.
func serversIn(dir, local string, log *slog.Logger) ([]raft.Server, error) {
	if info, err := os.Stat(filepath.Join(dir, raftFile)); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 { // it would be made
		return nil, nil
	}
	logger := raftLogger(log)
	s, err := openStores(dir, logger)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if _, err := checkLog(s); err != nil { // raft would panic
		return nil, err
	}
	_, nowhere := raft.NewInmemTransport("")
	config := raftConfig(local, Timing{}.withDefaults(), logger, nil)
	found, err := raft.GetConfiguration(config, newMachine(func(*topology.Topology) {}), s.logs, s.stable, s.snapshots, nowhere)
	return found.Servers, err
}

func raftConfig(local string, timing Timing, logger hclog.Logger, leads chan<- bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(local)
	c.Logger = logger
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = timing.Heartbeat, timing.Heartbeat, timing.Lease
	c.CommitTimeout = 50 * time.Millisecond
	c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = snapshotThreshold, trailingLogs, 30*time.Second
	c.ShutdownOnRemove = false // it is told by the topology, and may be let in again
	c.NotifyCh = leads
	c.NoLegacyTelemetry = true
	return c
}

func (a *agreement) start(logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, servers []server, config *raft.Config) error {
	if servers != nil {
		var first raft.Configuration
		for _, s := range servers {
			suffrage := raft.Nonvoter
			if s.Voter {
				suffrage = raft.Voter
			}
			first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.ID), Suffrage: suffrage})
		}
		if err := begin(config, logs, stable, snapshots, a.transport, first); err != nil {
			return err
		}
	}
	alone := len(servers) == 1
	if servers == nil {
		probe := *config // it is changed
		known, err := raft.GetConfiguration(&probe, newMachine(func(*topology.Topology) {}), logs, stable, snapshots, a.transport)
		alone = err == nil && len(known.Servers) == 1 && known.Servers[0].Suffrage == raft.Voter && string(known.Servers[0].ID) == a.local
	}
	var err error
	if a.Raft, err = raft.NewRaft(config, a.machine, logs, stable, snapshots, a.transport); err != nil {
		return err
	}
	if alone { // nobody else could lead: it need not wait for word from them
		a.transport.elect()
	}
	return nil
}

// begin writes the first entry of the log, unless there are others already.
//
// Raft writes the term first, then the entry. A process that ends in between leaves a log that has begun, as raft sees it, and has no servers: nobody would ever
// lead. So what counts is whether there is an entry.
func begin(config *raft.Config, logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, transport raft.Transport, first raft.Configuration) error {
	err := raft.BootstrapCluster(config, logs, stable, snapshots, transport, first)
	if !errors.Is(err, raft.ErrCantBootstrap) {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	if taken, err := snapshots.List(); err != nil || len(taken) > 0 {
		return err
	}
	return raft.BootstrapCluster(config, logs, raft.NewInmemStore(), snapshots, transport, first) // the term is there
}

// leader returns who leads, as far as this node knows; empty for nobody.
func (a *agreement) leader() topology.NodeID {
	_, id := a.LeaderWithID()
	node, _, err := parseServerID(string(id))
	if err != nil {
		return ""
	}
	return node
}

// settled waits for a change of raft's servers.
//
// Raft counts what a new voter has only from the moment that it counts its vote, and sends it the entry about that a moment before. If the answer is faster, the
// entry is not counted, and decided only with the next one: then there has to be one.
func (a *agreement) settled(change raft.Future) error {
	return awaitChange(change, a.timing.Heartbeat, func() { a.Barrier(applyTimeout) })
}

func awaitChange(change raft.Future, patience time.Duration, push func()) error {
	done := make(chan error, 1)
	go func() { done <- change.Error() }()
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			push()
		}
	}
}

// close ends raft and everything under it. A leader gives its lead to another one first, so that nobody has to find out that it is gone.
func (a *agreement) close() error {
	if a.State() == raft.Leader {
		given := make(chan error, 1)
		go func() { given <- a.LeadershipTransfer().Error() }() // no other node may be able to take it
		select {
		case <-given:
		case <-time.After(giveLeadTime):
		}
	}
	a.streams.Close() // first: raft waits for its dials
	err := a.Shutdown().Error()
	return errors.Join(err, a.transport.Close(), a.stores.close())
}
