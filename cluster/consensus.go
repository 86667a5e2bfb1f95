package cluster

import (
	"context"
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

// consensus is raft and everything under it: the log, the FSM, and the streams to other nodes. It
// owns the transport and the stores.
type consensus struct {
	*raft.Raft
	fsm       *fsm
	streams   *streamLayer
	transport *transport
	stores    *stores
	local     string // server id
	spreader  *spreader
	leads     chan bool // whether this node leads, at each change
	timing    Timing
}

const (
	rpcTimeout        = 2 * time.Second // of one exchange with another node; the lease notices a cut network long before
	snapshotsKept     = 2
	snapshotThreshold = 1024            // log entries
	trailingLogs      = 1024            // entries kept before a snapshot, for nodes that were away
	transferTimeout   = 2 * time.Second // a leader whose disk hangs cannot transfer its leadership
)

// noPipeline makes raft wait for the answer to one request to a follower before it sends the next one. Its pipeline can
// deadlock after a request that fails, when a further entry is there (hashicorp/raft issue 612): then that follower gets no
// entry as long as the leader leads, while heartbeats make it look healthy, and the leader cannot be closed.
const noPipeline = 1

// keyTerm is the key of the term in raft's stable store.
const keyTerm = "CurrentTerm"

// openConsensus starts raft on stores, which it then owns. Servers bootstrap a new cluster; without
// them the cluster exists, or its leader will contact this node.
func openConsensus(local string, kept *stores, servers []server, s *streamLayer, f *fsm, timing Timing, log *slog.Logger) (_ *consensus, err error) {
	a := &consensus{fsm: f, streams: s, stores: kept, local: local, leads: make(chan bool, 16), timing: timing}
	a.spreader = &spreader{barrier: a.appendBarrier}
	logger := raftLogger(log)
	stable := &retryingStableStore{StableStore: kept.stable, closing: s.ctx.Done(), mute: s.mute, log: log}
	logs := &stallDetectingLog{LogStore: kept.logs, limit: stallLimit, closing: s.ctx.Done(), mute: s.mute, log: log}
	a.transport = newTransport(&raft.NetworkTransportConfig{Logger: logger, Stream: s, MaxPool: 3, MaxRPCsInFlight: noPipeline, Timeout: rpcTimeout}, f.recovery)
	started := false
	defer func() {
		if !started { // also if retryingStableStore has ended this goroutine
			err = errors.Join(err, a.transport.Close(), kept.close())
		}
	}()
	if err := a.start(logs, stable, kept.snapshots, servers, raftConfig(local, timing, logger, a.leads)); err != nil {
		return nil, err
	}
	started = true
	return a, nil
}

// serversIn returns the servers of the cluster whose log is in a folder; none if there is no log.
func serversIn(dir, local string, log *slog.Logger) ([]raft.Server, error) {
	if info, err := os.Stat(filepath.Join(dir, raftFile)); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 { // opening it would create it
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
	known, err := raft.GetConfiguration(config, newFSM(func(*topology.Topology) {}), s.logs, s.stable, s.snapshots, nowhere)
	return known.Servers, err
}

func raftConfig(local string, timing Timing, logger hclog.Logger, leads chan<- bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(local)
	c.Logger = logger
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = timing.Heartbeat, timing.Heartbeat, timing.Lease
	c.CommitTimeout = 50 * time.Millisecond
	c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = snapshotThreshold, trailingLogs, 30*time.Second
	c.ShutdownOnRemove = false // the topology tells the node, which may be admitted again
	c.NotifyCh = leads
	c.NoLegacyTelemetry = true
	return c
}

func (a *consensus) start(logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, servers []server, config *raft.Config) error {
	if servers != nil {
		var first raft.Configuration
		for _, s := range servers {
			suffrage := raft.Nonvoter
			if s.Voter {
				suffrage = raft.Voter
			}
			first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.ID), Suffrage: suffrage})
		}
		if err := bootstrapLog(config, logs, stable, snapshots, a.transport, first); err != nil {
			return err
		}
	}
	alone := len(servers) == 1
	if servers == nil {
		probe := *config // raft changes it
		known, err := raft.GetConfiguration(&probe, newFSM(func(*topology.Topology) {}), logs, stable, snapshots, a.transport)
		alone = err == nil && len(known.Servers) == 1 && known.Servers[0].Suffrage == raft.Voter && string(known.Servers[0].ID) == a.local
	}
	var err error
	if a.Raft, err = raft.NewRaft(config, a.fsm, logs, stable, snapshots, a.transport); err != nil {
		return err
	}
	if alone { // no other node can lead, so there is no heartbeat to wait for
		a.transport.elect()
	}
	return nil
}

// bootstrapLog writes the first entry of the log, unless the log has entries.
//
// Raft writes the term, then the entry. After a crash in between, raft takes the log for
// bootstrapped though it has no servers, and no node could ever lead. So this checks whether there
// is an entry.
func bootstrapLog(config *raft.Config, logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, transport raft.Transport, first raft.Configuration) error {
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
	return raft.BootstrapCluster(config, logs, raft.NewInmemStore(), snapshots, transport, first) // the term is written already
}

// leader returns the leader that this node knows; empty for none.
func (a *consensus) leader() topology.NodeID {
	_, id := a.LeaderWithID()
	node, _, err := parseServerID(string(id))
	if err != nil {
		return ""
	}
	return node
}

// awaitChange waits for a change of raft's servers.
//
// Raft registers a new voter only when it counts that voter's vote, shortly after it has sent the
// entry about it. If the answer arrives before that, raft does not count it, and commits the entry
// only with the next one. So there has to be a next one.
func (a *consensus) awaitChange(change raft.Future) error {
	return awaitPushed(a.streams.ctx, change, a.timing.Heartbeat, func() { a.Barrier(applyTimeout) })
}

// awaitPushed waits for a change, and pushes when it has waited for a while. It gives up when ctx is done: raft does not answer each
// change that is under way when it shuts down.
func awaitPushed(ctx context.Context, change raft.Future, patience time.Duration, push func()) error {
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
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends raft and everything under it. A leader first transfers its leadership, which saves the
// others an election timeout.
func (a *consensus) close() error {
	if a.State() == raft.Leader {
		transferred := make(chan error, 1)
		go func() { transferred <- a.LeadershipTransfer().Error() }() // fails if no other node can lead
		select {
		case <-transferred:
		case <-time.After(transferTimeout):
		}
	}
	a.streams.Close() // first, since raft waits for its dials
	err := a.Shutdown().Error()
	return errors.Join(err, a.transport.Close(), a.stores.close())
}
