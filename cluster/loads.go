package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// loads asks nodes for their room and the sizes of their shards.
type loads struct {
	self  *localNode
	host  Host
	peers *peers
	fsm   *fsm

	mu   sync.Mutex // guards kept
	kept map[topology.NodeID]*topology.Load
}

// How long a node may take to say what load it has, and how often the leader asks: while copies move, and at other times.
const (
	loadTimeout  = time.Second
	loadMoving   = 250 * time.Millisecond
	loadInterval = 2 * time.Second
)

// maxLoad is the length of the longest answer that is looked at.
const maxLoad = 16 << 20

// gather asks all members, beside each other, and returns what those have said that answered in time.
func (l *loads) gather(ctx context.Context) map[topology.NodeID]*topology.Load {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	var (
		asked sync.WaitGroup
		mu    sync.Mutex // guards all
		all   = map[topology.NodeID]*topology.Load{}
	)
	for _, n := range l.fsm.current.Load().Nodes {
		if _, alive := l.peers.resolve(n.ID); !alive && n.ID != l.self.ID {
			continue
		}
		asked.Go(func() {
			if load, err := l.ask(ctx, n.ID); err == nil {
				mu.Lock()
				defer mu.Unlock()
				all[n.ID] = load
			}
		})
	}
	asked.Wait()
	return all
}

// ask asks one node.
func (l *loads) ask(ctx context.Context, id topology.NodeID) (*topology.Load, error) {
	load := &topology.Load{}
	if id == l.self.ID {
		*load = l.host.Load()
	} else {
		payload, err := l.peers.call(ctx, id, MethodLoad, nil)
		if err != nil {
			return nil, err
		}
		if len(payload) > maxLoad {
			return nil, fmt.Errorf("%s says %d bytes about its load", l.peers.name(id), len(payload))
		}
		if err := json.Unmarshal(payload, load); err != nil {
			return nil, fmt.Errorf("%s says of its load what cannot be read: %w", l.peers.name(id), err)
		}
	}
	if n, _ := l.fsm.current.Load().Node(id); load.Incarnation != n.Incarnation {
		return nil, fmt.Errorf("%s was restarted", l.peers.name(id))
	}
	return load, nil
}

// watch keeps what all members say until ctx is done, and calls news when there is more.
func (l *loads) watch(ctx context.Context, news func()) {
	defer l.set(nil)
	for ctx.Err() == nil {
		l.set(l.gather(ctx))
		news()
		every := loadInterval
		if l.fsm.current.Load().Moving() {
			every = loadMoving
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (l *loads) set(all map[topology.NodeID]*topology.Load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = all
}

// get returns what members have said last to the leader that this node is.
func (l *loads) get() map[topology.NodeID]*topology.Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}

// answerLoad serves MethodLoad.
func answerLoad(host Host) ([]byte, error) { return json.Marshal(host.Load()) }
