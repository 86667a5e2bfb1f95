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

// Recovery is the way out when a majority of the voters is lost for good: what one node knows becomes what the cluster knows, with that node as the only voter. It works on the files of
// a node that does not run. OpenRecovery, then Recover if that is wanted, then Close.
//
// Other nodes that live may have been told of decisions that this one does not know of, and have them in their logs. So the log goes on far behind all that they can have, in a term
// and in epochs above theirs: raft then gives them this node's topology as a whole, in place of their own.
type Recovery struct {
	Cluster  string
	Self     topology.NodeID
	Index    uint64 // of the last log entry that the node has
	Term     uint64 // in which that was written
	Voters   []RecoveryVoter
	Topology *topology.Topology

	local  string
	config *raft.Config
	*stores
	current uint64 // raft's term
}

// RecoveryVoter is a voter as the node knows it.
type RecoveryVoter struct {
	Node topology.NodeID
	Name string
	Bus  string // where it was last; empty if that is not known
}

var (
	// ErrNoRaft is returned by OpenRecovery when the node has never had a part in deciding anything.
	ErrNoRaft = errors.New("the folder has no log of a cluster's topology: the node has never been a member")
	// ErrOnlyVoter is returned by OpenRecovery when the node decides alone already.
	ErrOnlyVoter = errors.New("this node is the only voter already: start it, and it leads")
	// ErrNotMember is returned by OpenRecovery when the cluster had let the node go.
	ErrNotMember = errors.New("the topology that this node knows is without it: the cluster had let it go. Recover on another node")
)

// recoveryGap is by how much a recovery raises index, term and epochs: above all that the lost majority may have come to without this node knowing, and by
// a number of its own. If it is done on two nodes, the one that chose more prevails when they meet: with the same index and term raft would take their logs for one.
func recoveryGap() uint64 { return topology.RecoveryGap + rand.Uint64N(4*topology.RecoveryGap) }

// OpenRecovery reads what a node knows of its cluster, and changes nothing. Files and dir, which is raft's of all stores, are those of its folder.
func OpenRecovery(self topology.NodeID, store, dir string, files Files, log *slog.Logger) (*Recovery, error) {
	i, err := loadIdentity(files)
	if err != nil {
		return nil, err
	}
	r := &Recovery{Cluster: i.Cluster, Self: self, local: serverID(self, store)}
	if i.Cluster == "" || i.Server != r.local {
		return nil, ErrNoRaft
	}
	if _, err := os.Stat(filepath.Join(raftDirOf(dir, store), raftFile)); errors.Is(err, fs.ErrNotExist) { // it would be made
		return nil, ErrNoRaft
	}
	logger := raftLogger(log)
	if r.stores, err = openStores(raftDirOf(dir, store), logger); err != nil {
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

// read finds out what there is: it has raft recover into nothing.
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
	m := newMachine(func(*topology.Topology) {})
	if err := r.run(m, dryLogs{r.logs}, dry); err != nil {
		return err
	}
	r.Index, r.Term, r.Topology = dry.index, dry.term, m.current.Load()
	config := *r.config // it is changed
	_, nowhere := raft.NewInmemTransport("")
	known, err := raft.GetConfiguration(&config, newMachine(func(*topology.Topology) {}), r.logs, r.stable, r.snapshots, nowhere)
	if err != nil {
		return err
	}
	if err := r.note(known.Servers, files); err != nil {
		return err
	}
	switch _, member := r.Topology.Node(r.Self); {
	case r.Topology.Cluster == "":
		return ErrNoRaft
	case !member:
		return ErrNotMember
	case len(r.Voters) == 1 && r.Voters[0].Node == r.Self && r.votes(known):
		return ErrOnlyVoter
	}
	return nil
}

// votes reports whether the node itself is a voter, with the data folder that it has.
func (r *Recovery) votes(known raft.Configuration) bool {
	return slices.ContainsFunc(known.Servers, func(s raft.Server) bool { return string(s.ID) == r.local && s.Suffrage == raft.Voter })
}

// note takes down who the voters are.
func (r *Recovery) note(servers []raft.Server, files Files) error {
	book, err := openBook(files)
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
		r.Voters = append(r.Voters, RecoveryVoter{Node: node, Name: label(row.Name, node), Bus: known.Bus})
	}
	return nil
}

// Recover makes the node the only voter. When it returns, that is on disk.
func (r *Recovery) Recover() error {
	gap := recoveryGap()
	term := max(r.current, r.Term) + gap
	if err := r.stable.SetUint64([]byte(keyTerm), term); err != nil { // before a log of that term is there
		return err
	}
	end := raft.Log{Index: r.Index + gap, Term: term, Type: raft.LogNoop}
	return r.run(&recovering{newMachine(func(*topology.Topology) {}), end.Index, gap}, ahead{r.logs, r.Index, end}, r.snapshots)
}

func (r *Recovery) run(m raft.FSM, logs raft.LogStore, snapshots raft.SnapshotStore) error {
	_, nowhere := raft.NewInmemTransport("")
	config := *r.config
	return raft.RecoverCluster(&config, m, logs, r.stable, snapshots, nowhere, raft.Configuration{
		Servers: []raft.Server{{ID: raft.ServerID(r.local), Address: raft.ServerAddress(r.local), Suffrage: raft.Voter}},
	})
}

// Close closes the files.
func (r *Recovery) Close() error { return r.close() }

// recovering is the machine whose snapshot the cluster goes on with.
type recovering struct {
	*machine
	index, gap uint64
}

// Snapshot implements raft.FSM.
func (r *recovering) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{r.current.Load().Recovered(r.index, r.gap)}, nil
}

// ahead is a log with one entry more, that says nothing and is far behind the last one.
type ahead struct {
	raft.LogStore
	last uint64 // of what the node knows
	end  raft.Log
}

// LastIndex implements raft.LogStore.
func (a ahead) LastIndex() (uint64, error) { return a.last + 1, nil }

// GetLog implements raft.LogStore.
func (a ahead) GetLog(index uint64, entry *raft.Log) error {
	if index <= a.last {
		return a.LogStore.GetLog(index, entry)
	}
	*entry = a.end
	return nil
}

// dryLogs is a log of which nothing is removed.
type dryLogs struct{ raft.LogStore }

// DeleteRange implements raft.LogStore.
func (dryLogs) DeleteRange(uint64, uint64) error { return nil }

// drySnapshots reads snapshots and writes none, but notes of what the next one would have been.
type drySnapshots struct {
	raft.SnapshotStore
	index, term uint64
}

// Create implements raft.SnapshotStore.
func (d *drySnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	d.index, d.term = index, term
	return raft.NewInmemSnapshotStore().Create(version, index, term, c, at, t)
}
