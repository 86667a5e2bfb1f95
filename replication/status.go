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

// Send is a copy on its way to a process that is not in the ISR of its shard yet.
type Send struct {
	Shard int
	To    replica.Process
	Done  int64 // bytes that were sent
}

// Sends returns the copies on their way from this node to learners.
func (r *Replicator) Sends() (all []Send) {
	for process, p := range *r.peers.Load() {
		p.mu.Lock()
		for id, s := range p.streams {
			if !s.inISR.Load() && s.state != gone {
				all = append(all, Send{id, process, s.done.Load()})
			}
		}
		p.mu.Unlock()
	}
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
