package protocol

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
)

// layouts caches the layout of the newest topology. When the topology changes, thousands of clients fetch
// it at the same moment: each reply is made once.
type layouts struct {
	newest atomic.Pointer[layout]
	mu     sync.Mutex // held while a layout is made
}

// layout is a topology in the form that the replies of CLUSTER need, and a cache of those replies.
type layout struct {
	*topology.Topology
	index  map[topology.NodeID]int // position in Nodes, by id
	runs   []run
	nodes  []nodeSlots // in the order of Nodes
	vacant int         // slots without a primary
	epoch  uint64      // the highest of all shards

	mu      sync.Mutex // guards all below; held while a reply is made
	replies map[replyKey][]byte
	bytes   int // of replies
}

// run is a range of slots, both ends included, whose copies are on the same nodes.
type run struct {
	first, last int
	primary     int
	// replicas is the rest of the ISR, without nodes that serve slots themselves. In Redis a node is
	// either primary or replica, and clients rely on that: redis-py treats a node that it has seen as a
	// replica as nothing else, and skips it when it asks all primaries (DBSIZE, FLUSHALL, SCAN).
	replicas []int
}

// nodeSlots is what a node serves.
type nodeSlots struct {
	slots    int
	shards   int
	runs     [][2]int // first and last slot
	epoch    uint64   // the highest of its shards
	replicas []int    // nodes in the ISR of any of its shards
	copies   int      // the size of the smallest ISR of its shards
}

// replyKey is everything that a cached reply depends on, in addition to the topology.
type replyKey struct {
	what     string
	resp3    bool
	listener string
	local    string // the connection's local address, if it is part of the reply
	members  string
}

// Bounds of the cached replies. If clients connect to many addresses, the cache is emptied now and then.
const (
	maxCached      = 64
	maxCachedBytes = 16 << 20
)

func newLayout(topo *topology.Topology) *layout {
	l := &layout{Topology: topo, index: make(map[topology.NodeID]int, len(topo.Nodes)), nodes: make([]nodeSlots, len(topo.Nodes)), replies: map[replyKey][]byte{}}
	for i := range topo.Nodes {
		l.index[topo.Nodes[i].ID] = i
	}
	if len(topo.Shards) == 0 {
		l.vacant = topology.Slots
		return l
	}
	width := topology.SlotsPerShard(len(topo.Shards))
	for i := range topo.Shards {
		if primary, known := l.index[topo.Shards[i].Primary]; known {
			l.nodes[primary].slots += width
		}
	}
	var copies, only []int
	for i := range topo.Shards {
		row := &topo.Shards[i]
		l.epoch = max(l.epoch, row.Epoch)
		primary, known := l.index[row.Primary]
		if !known {
			l.vacant += width
			continue
		}
		copies, only = copies[:0], only[:0]
		for _, id := range row.ISR {
			if at, known := l.index[id]; known && at != primary {
				copies = append(copies, at)
				if l.nodes[at].slots == 0 {
					only = append(only, at)
				}
			}
		}
		first, last := topology.ShardID(i).Slots(len(topo.Shards))
		l.nodes[primary].add(first, last, row.Epoch, copies)
		l.add(run{first, last, primary, only})
	}
	return l
}

// add adds a shard that the node serves.
func (n *nodeSlots) add(first, last int, epoch uint64, copies []int) {
	if n.shards == 0 || len(copies)+1 < n.copies {
		n.copies = len(copies) + 1
	}
	n.shards++
	n.epoch = max(n.epoch, epoch)
	if end := len(n.runs) - 1; end >= 0 && n.runs[end][1]+1 == first {
		n.runs[end][1] = last
	} else {
		n.runs = append(n.runs, [2]int{first, last})
	}
	for _, at := range copies {
		if !slices.Contains(n.replicas, at) {
			n.replicas = append(n.replicas, at)
		}
	}
}

// add appends a run, or extends the last one.
func (l *layout) add(r run) {
	if end := len(l.runs) - 1; end >= 0 {
		if last := &l.runs[end]; last.last+1 == r.first && last.primary == r.primary && slices.Equal(last.replicas, r.replicas) {
			last.last = r.last
			return
		}
	}
	r.replicas = slices.Clone(r.replicas)
	l.runs = append(l.runs, r)
}

// reply returns the cached reply of a key, or makes it. Other callers wait meanwhile, and get the same one.
func (l *layout) reply(key replyKey, write func(*resp.Writer)) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kept, ok := l.replies[key]; ok {
		return kept
	}
	made := resp.Encode(key.resp3, write)
	if len(l.replies) >= maxCached || l.bytes+len(made) > maxCachedBytes {
		clear(l.replies)
		l.bytes = 0
	}
	l.replies[key] = made
	l.bytes += len(made)
	return made
}

// unixMilli returns Since in ms, or 0 if it is unknown.
func (s Liveness) unixMilli() int64 {
	if s.Since.IsZero() {
		return 0
	}
	return s.Since.UnixMilli()
}
