package replica

import (
	"fmt"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

func (h *simHost) row(incarnation uint64) topology.Node {
	return topology.Node{ID: h.id, Store: h.folder.store, Incarnation: incarnation, Log: true, Always: h.always}
}

func (s *sim) newFolder() *simFolder {
	s.stores++
	return &simFolder{store: fmt.Sprint("store", s.stores), cleanStop: true}
}

func (s *sim) newLock() int { s.boots++; return s.boots }

// startOn starts a process on a host.
func (s *sim) startOn(h *simHost) *simProcess {
	f := h.folder
	s.clock++
	p := &simProcess{host: h, self: Process{string(h.id), s.clock}, was: slices.Clone(f.starts), applied: f.applied}
	fresh := f.incarnation == 0
	p.same = f.boot == h.boot && f.lock == h.lock && !fresh
	unclean := !fresh && (f.boot != h.boot && !f.cleanStop || f.lock != h.lock || f.unclean)
	p.clean = !unclean
	f.starts = append(f.starts, s.clock)
	f.incarnation, f.boot, f.lock, f.cleanStop = s.clock, h.boot, h.lock, false
	f.unclean = unclean && !s.world.forgetUnclean
	for i := range p.copies {
		p.copies[i] = s.recover(p, i)
	}
	h.process = p
	s.event("%s/%d starts, was %v, clean %v, same lock %v, logs %v", h.id, s.clock, p.was, p.clean, p.same, [simShards]uint64{p.copies[0].c.End().Seq, p.copies[1].c.End().Seq})
	s.learn(p, p.applied)
	return p
}

// recover reads the log of a shard: what its records' heads vouch for is committed; what follows is the suffix.
func (s *sim) recover(p *simProcess, shard int) *simCopy {
	log := slices.Clone(p.host.folder.logs[shard])
	var table EpochTable
	commit := uint64(0)
	for _, r := range log {
		table = table.extend(r.epoch, r.seq)
		commit = max(commit, r.commit)
	}
	end := uint64(len(log))
	if commit < end {
		s.counts["restarted with a suffix"]++
	}
	if s.world.replayAll {
		commit = end
	}
	c := New(p.self, table, end, commit)
	c.Flaws, c.Times = s.flaws, simTimes
	if p.host.folder.broken[shard] {
		c.Damaged()
	}
	return &simCopy{s: s, p: p, shard: shard, c: c, log: log, visible: c.Commit(), next: map[Process]uint64{}, leases: map[simLease]int64{}}
}

// running returns the processes that take steps.
func (s *sim) running() []*simProcess {
	var out []*simProcess
	for _, h := range s.hosts {
		if h.process != nil && !h.process.frozen {
			out = append(out, h.process)
		}
	}
	return out
}

// end ends the process of a host.
func (s *sim) end(h *simHost) {
	h.process.dead = true
	h.process = nil
}

// victim returns a host with a process, or nil.
func (s *sim) victim() *simHost {
	if h := pick(s, s.hosts); h.process != nil {
		return h
	}
	return nil
}

func (s *sim) kill() {
	if h := s.victim(); h != nil {
		s.event("kill %s/%d", h.id, h.process.self.Incarnation)
		s.end(h)
		if s.chance(60) {
			s.startOn(h)
		}
	}
}

// losePower takes any part of the end of each log away, unless the node syncs each write.
func (s *sim) losePower() {
	h := s.victim()
	if h == nil {
		return
	}
	s.event("%s/%d loses power", h.id, h.process.self.Incarnation)
	s.counts["loss of power"]++
	s.end(h)
	s.boots++
	h.boot = s.boots
	for i, log := range h.folder.logs {
		if n := len(log); n > 0 && !h.always {
			h.folder.logs[i] = log[:n-s.r.IntN(min(n, 6)+1)]
		}
	}
	if s.chance(60) {
		s.startOn(h)
	}
}

// damage ends a process and destroys any part of the end of one log. The next recovery notices.
func (s *sim) damage() {
	h, shard := s.victim(), s.r.IntN(simShards)
	if h == nil || len(h.folder.logs[shard]) == 0 {
		return
	}
	s.event("shard %d of %s/%d is damaged", shard, h.id, h.process.self.Incarnation)
	s.counts["damaged"]++
	s.end(h)
	h.folder.logs[shard] = h.folder.logs[shard][:s.r.IntN(len(h.folder.logs[shard]))]
	h.folder.broken[shard] = true
	s.startOn(h)
}

func (s *sim) stopClean() {
	if h := s.victim(); h != nil {
		s.event("%s/%d stops", h.id, h.process.self.Incarnation)
		h.folder.cleanStop = true
		if s.end(h); s.chance(50) {
			s.boots++
			h.boot = s.boots
		}
		if s.chance(60) {
			s.startOn(h)
		}
	}
}

// wipe gives a host another, empty folder. Its process may go on, cut off, beside a new one.
func (s *sim) wipe() {
	h := s.victim()
	if h == nil {
		return
	}
	if s.chance(30) {
		s.double(h, s.newFolder())
		return
	}
	s.event("%s/%d loses its folder", h.id, h.process.self.Incarnation)
	s.end(h)
	h.folder, h.backup = s.newFolder(), nil
	s.startOn(h)
}

// cloneFolder starts a second process with the id of a node that runs, on a copy of its folder.
func (s *sim) cloneFolder() {
	if h := s.victim(); h != nil {
		s.double(h, h.folder.clone())
	}
}

func (s *sim) double(h *simHost, folder *simFolder) {
	for _, other := range s.hosts {
		if other != h && other.id == h.id {
			return // two are enough
		}
	}
	s.counts["cloned"]++
	s.event("%s/%d is cut off, and another process of %s is started", h.id, h.process.self.Incarnation, h.id)
	h.process.cut = true
	twin := &simHost{id: h.id, folder: folder, boot: h.boot, lock: s.newLock(), always: h.always}
	s.hosts = append(s.hosts, twin)
	s.startOn(twin)
}

func (s *sim) takeBackup() {
	h := pick(s, s.hosts)
	h.backup = h.folder.clone()
}

// restoreBackup starts a node on an earlier state of its folder.
func (s *sim) restoreBackup() {
	h := s.victim()
	if h == nil || h.backup == nil || h.backup.store != h.folder.store {
		return
	}
	if n, _ := s.newest().Node(h.id); h.backup.incarnation >= n.Incarnation {
		return // nothing detects it: docs/replication.md says so
	}
	s.event("%s/%d is put back to an earlier state", h.id, h.process.self.Incarnation)
	s.end(h)
	h.folder = h.backup.clone()
	s.counts["put back"]++
	h.folder.unclean = h.folder.unclean || s.chance(50) // ndctl restore says so
	s.startOn(h)
}

func (s *sim) freeze() {
	if h := s.victim(); h != nil {
		s.event("%s/%d freezes", h.id, h.process.self.Incarnation)
		h.process.frozen = true
	}
}

func (s *sim) wake() {
	if h := s.victim(); h != nil && h.process.frozen {
		s.event("%s/%d wakes", h.id, h.process.self.Incarnation)
		h.process.frozen = false
	}
}

func (s *sim) cutOff() {
	if h := s.victim(); h != nil {
		s.event("%s/%d is cut off", h.id, h.process.self.Incarnation)
		h.process.cut = true
	}
}

func (s *sim) reconnect() {
	if h := s.victim(); h != nil && h.process.cut {
		s.event("%s/%d is connected again", h.id, h.process.self.Incarnation)
		h.process.cut = false
	}
}

// cutPair loses what one node sends to another, in one direction.
func (s *sim) cutPair() {
	if a, b := pick(s, s.hosts).id, pick(s, s.hosts).id; a != b {
		s.event("%s reaches %s no more", a, b)
		s.pairs = append(s.pairs, [2]string{string(a), string(b)})
	}
}

func (s *sim) healPairs() { s.pairs = nil }

// start starts a process on a host without one.
func (s *sim) start() {
	if h := pick(s, s.hosts); h.process == nil {
		s.startOn(h)
	}
}

func (s *sim) loseLeader() {
	s.noLeader = true
	s.reports = map[topology.ShardID][]topology.Report{} // the next leader has none
}

func (s *sim) electLeader() { s.noLeader = false }

// hears reports whether a process hears a leader of raft.
func (s *sim) hears(p *simProcess) bool { return !s.noLeader && !p.cut }

// tickAll lets a tick pass for everybody who runs.
func (s *sim) tickAll() {
	s.now += simTick
	for _, p := range s.running() {
		p.tick++
		for _, c := range p.copies {
			c.apply(c.c.Tick(s.now, p.tick, s.hears(p)))
			c.apply(c.c.Expand(c.sent, s.now))
		}
		if p.tick%2 == 0 {
			s.heartbeat(p)
			s.repeat(p)
		}
	}
}

// join returns what a process says about its start.
func (s *sim) join(p *simProcess) topology.Op {
	starts := p.was
	if n, _ := s.newest().Node(p.host.id); s.world.lastStartOnly && len(p.was) > 0 && p.was[len(p.was)-1] >= n.Incarnation {
		starts = []uint64{n.Incarnation}
	}
	return topology.Op{
		Kind: topology.NodeJoin, Nodes: []topology.Node{p.host.row(p.self.Incarnation)}, Starts: starts,
		Unclean: !p.clean && !s.world.noUnclean, SameLock: p.same || s.world.relinquishedByName,
	}
}

// repeat sends again what has to arrive in the end: the join, proposals, reports, and records.
func (s *sim) repeat(p *simProcess) {
	if n, ok := s.history[p.applied].Node(p.host.id); s.history[p.applied].Cluster != "" && (!ok || n.Incarnation < p.self.Incarnation) {
		s.propose(p, -1, s.join(p))
	}
	for _, c := range p.copies {
		if proposal := c.c.Proposal(); proposal != nil {
			c.propose(proposal)
		}
		if c.c.Reporting() {
			c.report()
		}
		c.resend()
	}
}
