package cluster

import (
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// Recovery restores a cluster that has lost a majority of its voters for good: one node's topology
// becomes the cluster's, with that node as the only voter. It works on the files of a node that is
// not running: OpenRecovery, then Recover if wanted, then Close.
//
// Other live nodes may have decisions in their logs that this node never received. So the log
// continues far beyond any index that they can have, in a term and in epochs above theirs. Raft
// then replaces their topology by this node's as a whole.
type Recovery struct {
	Cluster  string
	Self     topology.NodeID
	Index    uint64 // of the node's last log entry
	Term     uint64 // of the node's last log entry
	Voters   []RecoveryVoter
	Topology *topology.Topology

	local  string
	config *raft.Config
	*stores
	current uint64 // raft's term
}

// RecoveryVoter is a voter according to the node's log.
type RecoveryVoter struct {
	Node topology.NodeID
	Name string
	Bus  string // last known address; empty if unknown
}

var (
	// ErrNoRaft is returned by OpenRecovery when the node has never been a raft server.
	ErrNoRaft = errors.New("the folder has no log of a cluster's topology: the node has never been a member")
	// ErrOnlyVoter is returned by OpenRecovery when the node can lead without a recovery.
	ErrOnlyVoter = errors.New("this node is the only voter already: start it, and it leads")
	// ErrNotMember is returned by OpenRecovery when the cluster had removed the node.
	ErrNotMember = errors.New("this node is not in its own topology: the cluster had removed it. Recover on another node")
)

// recoveryGap is by how much a recovery raises index, term and epochs: beyond anything that the
// lost majority can have reached, and by a random number. If two nodes are recovered, the one with
// the larger number prevails when they meet; with equal index and term, raft would take their logs
// for the same.
func recoveryGap() uint64 { return topology.RecoveryGap + rand.Uint64N(4*topology.RecoveryGap) }

// OpenRecovery reads what a node knows about its cluster. It changes nothing. Dir has a folder of
// raft's files for each store.
func OpenRecovery(self topology.NodeID, store, dir string, files Files, log *slog.Logger) (*Recovery, error) {
	i, err := loadIdentity(files)
	if err != nil {
		return nil, err
	}
	r := &Recovery{Cluster: i.Cluster, Self: self, local: serverID(self, store)}
	if i.Cluster == "" || i.Server != r.local {
		return nil, ErrNoRaft
	}
	if _, err := os.Stat(filepath.Join(storeDir(dir, store), raftFile)); errors.Is(err, fs.ErrNotExist) { // opening it would create it
		return nil, ErrNoRaft
	}
	logger := raftLogger(log)
	if r.stores, err = openStores(storeDir(dir, store), logger); err != nil {
		return nil, err
	}
	if _, err := checkLog(r.stores); err != nil { // raft would panic
		return nil, errors.Join(err, r.Close())
	}
	r.config = raftConfig(r.local, Timing{}.withDefaults(), logger, nil)
	if err := r.read(files); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// read reads the state by a dry run of raft's recovery.
func (r *Recovery) read(files Files) error {
	there, err := raft.HasExistingState(r.logs, r.stable, r.snapshots)
	if err != nil {
		return err
	}
	if !there {
		return ErrNoRaft
	}
	if r.current, err = r.stable.GetUint64([]byte(keyTerm)); err != nil {
		return err
	}
	dry := &drySnapshots{SnapshotStore: r.snapshots}
	m := newFSM(func(*topology.Topology) {})
	err = r.run(m, dryLogs{r.logs}, dry)
	if failed := m.failed.Load(); failed != nil {
		return *failed
	}
	if err != nil {
		return err
	}
	r.Index, r.Term, r.Topology = dry.index, dry.term, m.current.Load()
	config := *r.config // raft changes it
	_, nowhere := raft.NewInmemTransport("")
	known, err := raft.GetConfiguration(&config, newFSM(func(*topology.Topology) {}), r.logs, r.stable, r.snapshots, nowhere)
	if err != nil {
		return err
	}
	if err := r.recordVoters(known.Servers, files); err != nil {
		return err
	}
	switch _, member := r.Topology.Node(r.Self); {
	case r.Topology.Cluster == "":
		return ErrNoRaft
	case !member:
		return ErrNotMember
	case len(r.Voters) == 1 && r.Voters[0].Node == r.Self && r.isVoter(known):
		return ErrOnlyVoter
	}
	return nil
}

// isVoter reports whether this node, with its present store, is a voter.
func (r *Recovery) isVoter(known raft.Configuration) bool {
	return slices.ContainsFunc(known.Servers, func(s raft.Server) bool { return string(s.ID) == r.local && s.Suffrage == raft.Voter })
}

func (r *Recovery) recordVoters(servers []raft.Server, files Files) error {
	book, err := openAddressBook(files)
	if err != nil {
		return err
	}
	for _, s := range servers {
		node, _, err := parseServerID(string(s.ID))
		if err != nil || s.Suffrage != raft.Voter {
			continue
		}
		row, _ := r.Topology.Node(node)
		known, _ := book.get(node)
		r.Voters = append(r.Voters, RecoveryVoter{Node: node, Name: topology.Label(row.Name, node), Bus: known.Bus})
	}
	return nil
}

// Recover makes the node the only voter, durably.
func (r *Recovery) Recover() error {
	gap := recoveryGap()
	term := max(r.current, r.Term) + gap
	if err := r.stable.SetUint64([]byte(keyTerm), term); err != nil { // before the log has an entry of that term
		return err
	}
	end := raft.Log{Index: r.Index + gap, Term: term, Type: raft.LogNoop}
	return r.run(&recoveringFSM{newFSM(func(*topology.Topology) {}), end.Index, gap}, extendedLog{r.logs, r.Index, end}, r.snapshots)
}

func (r *Recovery) run(m raft.FSM, logs raft.LogStore, snapshots raft.SnapshotStore) error {
	_, nowhere := raft.NewInmemTransport("")
	config := *r.config // raft changes it
	return raft.RecoverCluster(&config, m, logs, r.stable, snapshots, nowhere, raft.Configuration{
		Servers: []raft.Server{{ID: raft.ServerID(r.local), Address: raft.ServerAddress(r.local), Suffrage: raft.Voter}},
	})
}

// Close closes the files.
func (r *Recovery) Close() error { return r.close() }

// recoveringFSM writes the snapshot with which the cluster continues.
type recoveringFSM struct {
	*fsm
	index, gap uint64
}

// Snapshot implements raft.FSM.
func (r *recoveringFSM) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{r.current.Load().Recovered(r.index, r.gap)}, nil
}

// extendedLog is a log with one more, empty entry whose index is far beyond the last one.
type extendedLog struct {
	raft.LogStore
	last uint64 // index of the node's last entry
	end  raft.Log
}

// LastIndex implements raft.LogStore.
func (a extendedLog) LastIndex() (uint64, error) { return a.last + 1, nil }

// GetLog implements raft.LogStore.
func (a extendedLog) GetLog(index uint64, entry *raft.Log) error {
	if index <= a.last {
		return a.LogStore.GetLog(index, entry)
	}
	*entry = a.end
	return nil
}

// dryLogs is a log from which nothing is deleted.
type dryLogs struct{ raft.LogStore }

// DeleteRange implements raft.LogStore.
func (dryLogs) DeleteRange(uint64, uint64) error { return nil }

// drySnapshots reads snapshots and writes none, but records the position of the one that would be
// written.
type drySnapshots struct {
	raft.SnapshotStore
	index, term uint64
}

// Create implements raft.SnapshotStore.
func (d *drySnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	d.index, d.term = index, term
	return raft.NewInmemSnapshotStore().Create(version, index, term, c, at, t)
}
