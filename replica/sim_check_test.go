package replica

import (
	"fmt"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// simShard is what the checks know about a shard.
type simShard struct {
	log     []simCommitted // what any primary has committed
	since   uint64         // leader epoch in which the log began empty or with a clone, because of a loss that the topology counts
	pending uint64         // such a leader epoch that has not opened yet
	lossy   bool           // there was one
	cloned  bool           // it began with a clone of a copy, not empty
}

type simCommitted struct {
	simRecord
	leader uint64 // in which it was committed
}

type simRead struct {
	leader uint64
	stale  bool // another primary had committed more
}

// enter begins a new log for the primary that follows a counted loss. It returns false for a copy that still
// belongs to what was lost.
func (s *sim) enter(c *simCopy) bool {
	sh, leader := &s.shards[c.shard], c.c.Config().LeaderEpoch
	if leader < max(sh.since, sh.pending) {
		return false
	}
	if sh.pending > 0 && c.c.Primary() {
		sh.log, sh.since, sh.pending = nil, sh.pending, 0
		for _, r := range c.log[:c.c.Commit()] {
			sh.log = append(sh.log, simCommitted{r, leader})
		}
	}
	return sh.pending == 0
}

// checkAppend: one process appends in an epoch, and a point names one record.
func (s *sim) checkAppend(c *simCopy, r simRecord) {
	key := simEpoch{c.shard, r.epoch}
	if p, ok := s.writers[key]; ok && p != c.p.self {
		s.fail("%v and %v append to shard %d in epoch %d", p, c.p.self, c.shard, r.epoch)
	}
	s.writers[key] = c.p.self
	s.checkPoint(c, r)
}

func (s *sim) checkPoint(c *simCopy, r simRecord) {
	point := simPoint{c.shard, r.epoch, r.seq}
	if id, ok := s.points[point]; ok && id != r.id {
		s.fail("shard %d: %d-%d names the writes %d and %d", c.shard, r.epoch, r.seq, id, r.id)
	}
	s.points[point] = r.id
}

// checkCommit: there is one committed log, and members show nothing else.
func (s *sim) checkCommit(c *simCopy, upTo uint64) {
	if upTo > uint64(len(c.log)) {
		s.fail("%v shows shard %d up to %d, and has %d records", c.p.self, c.shard, upTo, len(c.log))
	}
	if !s.enter(c) {
		return
	}
	sh := &s.shards[c.shard]
	for i, r := range c.log[:upTo] {
		switch {
		case i < len(sh.log) && (sh.log[i].epoch != r.epoch || sh.log[i].id != r.id):
			s.fail("shard %d: seq %d was committed as %d-%d with write %d, and %v commits %d-%d with write %d",
				c.shard, r.seq, sh.log[i].epoch, sh.log[i].seq, sh.log[i].id, c.p.self, r.epoch, r.seq, r.id)
		case i < len(sh.log):
		case !c.c.Primary():
			s.fail("%v shows seq %d of shard %d, which no primary has committed", c.p.self, r.seq, c.shard)
		default:
			sh.log = append(sh.log, simCommitted{r, c.c.Config().LeaderEpoch})
			if r.id != 0 {
				s.counts["write committed"]++
			}
		}
	}
}

// checkOpen: a primary that opens has what was committed before its leader epoch.
func (s *sim) checkOpen(c *simCopy) {
	if !s.enter(c) {
		return
	}
	sh, leader := &s.shards[c.shard], c.c.Config().LeaderEpoch
	s.checkCommit(c, c.c.Commit())
	for i := int(c.c.Commit()); i < len(sh.log); i++ {
		if sh.log[i].leader < leader {
			s.fail("%v opens shard %d in leader epoch %d with %d records, without seq %d that was committed in leader epoch %d", c.p.self, c.shard, leader, c.c.Commit(), i+1, sh.log[i].leader)
		}
	}
}

// checkTruncate: nothing visible is truncated.
func (s *sim) checkTruncate(c *simCopy, after uint64) {
	if after < c.visible {
		s.fail("%v truncates shard %d behind %d, and shows %d", c.p.self, c.shard, after, c.visible)
	}
}

// checkInstall: a copy shows what others lack only after a loss that is counted.
func (s *sim) checkInstall(c *simCopy) {
	if !s.shards[c.shard].lossy {
		s.fail("%v would have to truncate what it shows of shard %d, and nothing was lost", c.p.self, c.shard)
	}
}

// lookUp looks a value up, or answers an earlier lookup if the lease allows it now.
func (s *sim) lookUp() {
	of := s.primaries()
	if len(of) == 0 {
		return
	}
	c := pick(s, of)
	leader := c.c.Config().LeaderEpoch
	if len(c.reads) == 0 || s.chance(40) {
		c.reads = append(c.reads, simRead{leader, s.stale(c)})
		return
	}
	i := s.r.IntN(len(c.reads))
	r := c.reads[i]
	if r.leader != leader || !c.c.Leased(c.sent, s.now) {
		return
	}
	c.reads = slices.Delete(c.reads, i, i+1)
	s.counts["read answered"]++
	if r.stale && !s.excused(c) {
		s.fail("%v answers a read of shard %d in leader epoch %d with a value that is out of date", c.p.self, c.shard, leader)
	}
}

// checkReads: no copy could answer a read now with less than was committed.
func (s *sim) checkReads() {
	for _, c := range s.primaries() {
		sh, leader := &s.shards[c.shard], c.c.Config().LeaderEpoch
		if s.stale(c) && c.c.Leased(c.sent, s.now) && !s.excused(c) {
			s.fail("%v could answer reads of shard %d in leader epoch %d with %d of %d records", c.p.self, c.shard, leader, c.visible, len(sh.log))
		}
	}
}

// stale reports whether another primary has committed what a copy does not show.
func (s *sim) stale(c *simCopy) bool {
	sh := &s.shards[c.shard]
	return c.c.Config().LeaderEpoch < sh.since || sh.pending == 0 && uint64(len(sh.log)) > c.visible
}

// excused: nothing detects a clone of the only copy while its node is cut off.
func (s *sim) excused(c *simCopy) bool {
	return c.c.Alone() && s.doubled() && s.shards[c.shard].cloned
}

// check: raft refuses no proposal of the newest epoch for ever: nothing else can be proposed then.
func (s *sim) check() {
	s.checkReads()
	t := s.newest()
	if t.Cluster == "" {
		return
	}
	for _, h := range s.hosts {
		if h.process == nil || h.process.cut {
			continue
		}
		for _, c := range h.process.copies {
			p := c.c.Proposal()
			if p == nil || p.Epoch != t.Shards[c.shard].Epoch || !c.c.Primary() {
				continue
			}
			if _, errs := t.Apply(t.Index+1, topology.Command{Ops: []topology.Op{c.op(p)}}); errs[0] != nil {
				s.fail("what %v proposes is refused for ever in epoch %d: %v", c.p.self, p.Epoch, errs[0])
			}
		}
	}
}

// simQuiet is for how many rounds the shards must be at rest: a member that has just learned of a later epoch may still report it,
// because of a silence in an earlier one, and so depose a primary that has done nothing wrong.
const simQuiet = 3

// comeToRest ends all trouble and checks that every shard has all its copies and serves.
func (s *sim) comeToRest() {
	s.event("calm")
	s.calm, s.noLeader, s.pairs = true, false, nil
	newest := map[topology.NodeID]*simHost{}
	for _, h := range s.hosts {
		if was := newest[h.id]; was == nil || h.folder.incarnation > was.folder.incarnation {
			newest[h.id] = h
		}
	}
	s.hosts = slices.DeleteFunc(s.hosts, func(h *simHost) bool {
		if newest[h.id] == h {
			return false
		}
		if h.process != nil {
			s.end(h)
		}
		return true
	})
	for _, h := range s.hosts {
		if h.process == nil {
			s.startOn(h)
		}
		h.process.cut, h.process.frozen = false, false
	}
	waits, quiet := "", 0
	for round := range 400 {
		if round == 200 {
			s.now += int64(topology.UncleanWait) * 1e6
		}
		s.round()
		if waits = s.unsettled(); waits != "" {
			quiet = 0
		} else if quiet++; quiet == simQuiet {
			break
		}
		s.check()
	}
	if waits != "" {
		s.fail("at rest: %s", waits)
	}
	s.writeAtRest()
}

// round lets everything that is under way arrive.
func (s *sim) round() {
	s.tickAll()
	s.plan()
	s.settleMoves()
	for range 300 {
		if len(s.messages)+len(s.inFlight) == 0 {
			break
		}
		s.deliver()
		s.decideOne()
	}
	for _, p := range s.running() {
		s.learn(p, len(s.history)-1)
	}
}

// writeAtRest checks that each shard takes a write, and that all copies come to have it.
func (s *sim) writeAtRest() {
	before := s.ids
	for _, c := range s.primaries() {
		s.ids++
		s.event("%v appends write %d to shard %d at rest at %d", c.p.self, s.ids, c.shard, len(c.log)+1)
		c.append(s.ids)
	}
	for range 20 {
		s.round()
	}
	if waits := s.unsettled(); waits != "" {
		s.fail("after a write at rest: %s", waits)
	}
	for i := range simShards {
		if !slices.ContainsFunc(s.shards[i].log, func(r simCommitted) bool { return r.id > before }) {
			s.fail("shard %d did not commit the write at rest", i)
		}
	}
}

// unsettled returns what keeps the shards from being at rest.
func (s *sim) unsettled() string {
	t := s.newest()
	for i := range simShards {
		row := t.Shards[i]
		if row.Primary == "" || len(row.Assigned) < s.replicas || len(row.Unclean) > 0 || len(row.ISR) < len(row.Assigned) || s.misplaced(&row) {
			text := fmt.Sprintf("shard %d: %+v", i, row)
			for _, p := range s.running() {
				c := p.copies[i]
				text += fmt.Sprintf("\n%v: end %v, commit %d, gate %v, reporting %v, proposal %v, others %+v", p.self, c.c.End(), c.c.Commit(), c.gate, c.c.Reporting(), c.c.Proposal(), c.c.others)
			}
			return text
		}
		for _, id := range row.ISR {
			for _, h := range s.hosts {
				if h.id != id {
					continue
				}
				c := h.process.copies[i]
				if id == row.Primary && !c.gate || c.c.Reporting() {
					return fmt.Sprintf("shard %d: %s, the primary, does not serve, or a member reports", i, id)
				}
				if got, want := uint64(len(c.log)), uint64(len(s.shards[i].log)); got != want || c.visible != want {
					return fmt.Sprintf("shard %d: %s has %d records and shows %d of %d", i, id, got, c.visible, want)
				}
				for k, r := range c.log {
					if w := s.shards[i].log[k]; w.epoch != r.epoch || w.id != r.id {
						return fmt.Sprintf("shard %d: seq %d at %s is %d-%d, write %d, not %d-%d, write %d", i, k+1, id, r.epoch, r.seq, r.id, w.epoch, w.seq, w.id)
					}
				}
			}
		}
	}
	return ""
}
