package topology

// Limits of the copies that are on their way at a node, as the one that sends or the one that receives.
const (
	MovesAtOnce = 2       // but more
	SmallMoves  = 8 << 20 // while all of them together have at most so many bytes: empty shards need not wait for each other
)

// budget is what nodes may take on, beside the copies on their way already.
type budget struct {
	p        *planner
	sizes    map[ShardID]int64 // of shards, as far as their primaries have said
	at       map[NodeID]*busy
	reserved map[NodeID]int64 // for the copies on their way to a node
}

// busy are the copies on their way at a node.
type busy struct {
	copies int
	bytes  int64
}

// underWay counts the copies that are on their way: learners that are alive, have a primary that is, and have room.
func (p *planner) underWay() *budget {
	b := &budget{p: p, sizes: map[ShardID]int64{}, at: map[NodeID]*busy{}, reserved: map[NodeID]int64{}}
	type copy struct {
		shard ShardID
		to    NodeID
	}
	done := map[copy]int64{}
	for _, n := range p.t.Nodes {
		b.at[n.ID] = &busy{}
		load := b.load(n.ID)
		if load == nil {
			continue
		}
		for _, s := range load.Shards {
			if leads(p.t, n.ID, s.Shard) {
				b.sizes[s.Shard] = s.Bytes
			}
		}
		for _, s := range load.Sends {
			if leads(p.t, n.ID, s.Shard) {
				done[copy{s.Shard, s.To}] = s.Done
			}
		}
	}
	for i, row := range p.t.Shards {
		for _, id := range row.Learners {
			m := missingCopy{shard: ShardID(i), from: row.Primary, to: id}
			arrived := min(done[copy{m.shard, id}], needs(b.sizes[m.shard])) // it has taken that room
			b.reserved[id] -= arrived
			if p.alive(row.Primary) && p.alive(id) && b.room(m) == "" {
				b.add(m)
			} else {
				b.reserved[id] += arrived
			}
		}
	}
	return b
}

// leads reports whether a node is the primary of a shard.
func leads(t *Topology, id NodeID, shard ShardID) bool {
	return shard >= 0 && int(shard) < len(t.Shards) && t.Shards[shard].Primary == id
}

// load returns what a node has said in its present incarnation; nil if that is nothing.
func (b *budget) load(id NodeID) *Load {
	n, _ := b.p.t.Node(id)
	if load := b.p.v.Loads[id]; load != nil && load.Incarnation == n.Incarnation {
		return load
	}
	return nil
}

// add notes that a copy is on its way. One whose size is not known counts as large, and takes no room.
func (b *budget) add(m missingCopy) {
	bytes, known := b.sizes[m.shard]
	b.reserved[m.to] += needs(bytes)
	if !known {
		bytes = SmallMoves + 1
	}
	for _, id := range []NodeID{m.from, m.to} {
		if at := b.at[id]; at != nil {
			at.copies++
			at.bytes += bytes
		}
	}
}

// needs returns the room that a copy needs: a tenth more than it has.
func needs(bytes int64) int64 { return bytes + bytes/10 }

// Why a copy does not begin to move now.
const (
	waitsForTurn   = "other copies of these nodes are on their way"
	waitsForRoom   = "the node has no room for it"
	waitsForAnswer = "the node has not said yet what room it has"
	waitsForNode   = "the node is down"
	waitsForCopy   = "the shard has no primary that is up"
	waitsPaused    = "moves are paused"
)

// takes returns why a copy may not begin to move now; empty if it may.
func (b *budget) takes(m missingCopy) string {
	bytes, known := b.sizes[m.shard]
	for _, id := range []NodeID{m.from, m.to} {
		at := b.at[id]
		if at != nil && at.copies >= MovesAtOnce && (!known || at.bytes+bytes > SmallMoves) {
			return waitsForTurn
		}
	}
	return b.room(m)
}

// room returns why a node has no room for a copy, beside those on their way to it. A program that does not know Format2 says nothing about
// its room.
func (b *budget) room(m missingCopy) string {
	switch load := b.load(m.to); {
	case load == nil && b.p.v.Nodes[m.to].Format >= Format2:
		return waitsForAnswer
	case load == nil:
		return ""
	case load.Room() != NoLimit && load.Room()-b.reserved[m.to] < needs(b.sizes[m.shard]):
		return waitsForRoom
	}
	return ""
}
