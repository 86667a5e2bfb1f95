package replication

import (
	"cmp"
	"slices"
	"time"

	"github.com/ndring/ndring/replica"
)

// PeerStatus is how this node sends to another process.
type PeerStatus struct {
	Process  replica.Process
	Linked   bool          // it is connected
	CatchUps int           // shards whose stream is not attached
	Bytes    int64         // on the way to it, not acknowledged
	Silent   time.Duration // since its last acknowledgement
}

// Send is a copy on its way to a learner.
type Send struct {
	Shard int
	To    replica.Process
	Done  int64 // bytes that the present attempt has sent
}

// Sends returns the learners that have not caught up, by shard.
func (r *Replicator) Sends() (all []Send) {
	for _, p := range *r.peers.Load() {
		all = p.appendSends(all)
	}
	slices.SortFunc(all, func(a, b Send) int { return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.To.Node, b.To.Node)) })
	return all
}

func (p *peer) appendSends(all []Send) []Send {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.streams {
		if s.state != attached && !s.inISR.Load() {
			all = append(all, Send{s.shard, p.process, s.done.Load()})
		}
	}
	return all
}

// Peers returns the processes to which this node sends, by their ids.
func (r *Replicator) Peers() []PeerStatus {
	peers := *r.peers.Load()
	all := make([]PeerStatus, 0, len(peers))
	for _, p := range peers {
		all = append(all, p.status())
	}
	slices.SortFunc(all, func(a, b PeerStatus) int {
		return cmp.Or(cmp.Compare(a.Process.Node, b.Process.Node), cmp.Compare(a.Process.Incarnation, b.Process.Incarnation))
	})
	return all
}

func (p *peer) status() PeerStatus {
	s := PeerStatus{Process: p.process, Bytes: p.window.bytes.Load(), Silent: time.Since(time.Unix(0, p.heard.Load()))}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Linked = p.queue.linked
	for _, stream := range p.streams {
		if stream.state != attached {
			s.CatchUps++
		}
	}
	return s
}
