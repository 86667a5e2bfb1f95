package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// reports are what members have reported to this node while it leads: the newest report of each
// process about each shard. They go with the term, since members repeat them to the next leader.
type reports struct {
	news chan struct{} // a report says something new; capacity 1

	mu   sync.Mutex // guards kept
	kept map[topology.ShardID][]topology.Report
}

func newReports() *reports {
	return &reports{news: make(chan struct{}, 1), kept: map[topology.ShardID][]topology.Report{}}
}

// add keeps reports. Those about earlier epochs than the topology has are over, and so are those of
// processes that are no longer members.
func (r *reports) add(t *topology.Topology, now int64, all []topology.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := false
	for _, report := range all {
		if counts(t, report) && r.keep(report, now) {
			fresh = true
		}
	}
	if !fresh {
		return
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// keep keeps a report in the place of an earlier one of the same node, and reports whether it says
// something new. A process that repeats its report has reported since the first time.
func (r *reports) keep(report topology.Report, now int64) bool {
	report.At = now
	list := r.kept[report.Shard]
	i := slices.IndexFunc(list, func(o topology.Report) bool { return o.Node == report.Node })
	if i < 0 {
		r.kept[report.Shard] = append(list, report)
		return true
	}
	old := list[i]
	switch {
	case old.Incarnation > report.Incarnation, old.Incarnation == report.Incarnation && old.Epoch > report.Epoch:
		return false // it was delayed on the way
	case old.Incarnation == report.Incarnation && old.Epoch == report.Epoch:
		report.At = old.At
	}
	list[i] = report
	return report != old
}

// counts reports whether a report may matter in a topology or in a later one.
func counts(t *topology.Topology, r topology.Report) bool {
	if r.Shard < 0 || int(r.Shard) >= len(t.Shards) || r.Epoch < t.Shards[r.Shard].Epoch {
		return false
	}
	n, member := t.Node(r.Node)
	return member && r.Incarnation >= n.Incarnation
}

// view returns the reports that count in a topology, and forgets all others.
func (r *reports) view(t *topology.Topology) map[topology.ShardID][]topology.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) == 0 {
		return nil
	}
	view := make(map[topology.ShardID][]topology.Report, len(r.kept))
	for id, list := range r.kept {
		list = slices.DeleteFunc(list, func(report topology.Report) bool { return !counts(t, report) })
		if len(list) == 0 {
			delete(r.kept, id)
			continue
		}
		r.kept[id] = list
		view[id] = slices.Clone(list)
	}
	return view
}

// clear forgets all reports.
func (r *reports) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.kept)
}

// reporter takes this node's reports to raft's leader, which may be this node.
type reporter struct {
	life      *lifetime
	self      *localNode
	peers     *peers
	fsm       *fsm
	consensus *consensusRef
	reports   *reports // of all members, if this node leads

	mu      sync.Mutex // guards pending
	pending *reportRequest
}

// reportRequest is a request to the leader that is under way.
type reportRequest struct {
	leader topology.NodeID
	cancel context.CancelFunc
}

// reportTimeout bounds one request: the node soon repeats its reports.
const reportTimeout = time.Second

// Report tells raft's leader which shards this node's copies hear no primary of. The caller repeats
// all reports that still hold every 100 ms, which also reaches the next leader. Report does not wait.
func (c *Cluster) Report(reports []topology.Report) { c.reporter.report(reports) }

func (p *reporter) report(all []topology.Report) {
	a := p.consensus.Load()
	if a == nil || len(all) == 0 {
		return
	}
	switch leader := a.leader(); leader {
	case "":
	case p.self.ID:
		p.accept(a, p.self.ID, p.self.Incarnation, all)
	default:
		p.send(leader, encodeReports(all))
	}
}

// send starts a request to the leader. A request to the same leader that is under way makes it
// needless: that leader does not answer yet. One to an earlier leader ends.
func (p *reporter) send(leader topology.NodeID, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending != nil {
		if p.pending.leader == leader {
			return
		}
		p.pending.cancel()
	}
	ctx, cancel := context.WithTimeout(p.life.ctx, reportTimeout)
	request := &reportRequest{leader, cancel}
	p.pending = request
	go func() {
		defer cancel()
		_, _ = p.peers.call(ctx, leader, MethodReport, payload) // the node repeats it in any case
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.pending == request {
			p.pending = nil
		}
	}()
}

// accept keeps the reports of a process, if this node leads.
func (p *reporter) accept(a *consensus, node topology.NodeID, incarnation uint64, all []topology.Report) {
	if a.State() != raft.Leader {
		return
	}
	for i := range all {
		all[i].Node, all[i].Incarnation = node, incarnation
	}
	p.reports.add(p.fsm.current.Load(), time.Now().UnixMilli(), all)
}

// answer serves MethodReport. A process reports only for itself.
func (p *reporter) answer(from Caller, payload []byte) error {
	all, err := decodeReports(payload)
	if err != nil {
		return err
	}
	a := p.consensus.Load()
	if a == nil {
		return ErrNoCluster
	}
	p.accept(a, from.Node, from.Incarnation, all)
	return nil
}

// reportSize is how many bytes a report takes between nodes: shard (4), epoch (8), and the epoch (8)
// and seq (8) of the copy's end. The connection says which process reports.
const reportSize = 28

func encodeReports(all []topology.Report) []byte {
	b := make([]byte, 0, len(all)*reportSize)
	for _, r := range all {
		b = binary.BigEndian.AppendUint32(b, uint32(r.Shard))
		b = binary.BigEndian.AppendUint64(b, r.Epoch)
		b = binary.BigEndian.AppendUint64(b, r.Point.Epoch)
		b = binary.BigEndian.AppendUint64(b, r.Point.Seq)
	}
	return b
}

func decodeReports(b []byte) ([]topology.Report, error) {
	if len(b)%reportSize != 0 || len(b)/reportSize > topology.MaxShards {
		return nil, fmt.Errorf("malformed reports: %d bytes are not a whole number of reports, at most %d", len(b), topology.MaxShards)
	}
	all := make([]topology.Report, len(b)/reportSize)
	for i := range all {
		at := b[i*reportSize:]
		all[i] = topology.Report{
			Shard: topology.ShardID(min(binary.BigEndian.Uint32(at), topology.MaxShards)), Epoch: binary.BigEndian.Uint64(at[4:]),
			Point: topology.Point{Epoch: binary.BigEndian.Uint64(at[12:]), Seq: binary.BigEndian.Uint64(at[20:])},
		}
	}
	return all, nil
}
