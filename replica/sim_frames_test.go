package replica

import (
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

type simKind int

const (
	msgAppend simKind = iota
	msgAck
	msgSync
	msgTruncate
	msgHeartbeat
	msgGrant
	msgReport
	msgInstall
	msgSnapshot
)

// simMessage is a frame under way. A connection joins two processes, so it reaches the process that it was sent to or none.
type simMessage struct {
	kind          simKind
	from, to      Process
	shard         int
	epoch, leader uint64
	prev          Point // of a sync and a report: the end of the log
	records       []simRecord
	commit        uint64
	table         EpochTable
	after         uint64
	ack           Ack
	sentAt        int64
	renewals      []simRenewal
}

// simRenewal names a shard that the sender of a heartbeat leads.
type simRenewal struct {
	shard         int
	epoch, leader uint64
}

const simQueue = 150 // messages under way

func (s *sim) post(p *simProcess, m simMessage) {
	if p.cut || slices.Contains(s.pairs, [2]string{m.from.Node, m.to.Node}) {
		return
	}
	if len(s.messages) >= simQueue {
		i := s.r.IntN(len(s.messages))
		s.messages = slices.Delete(s.messages, i, i+1)
	}
	s.messages = append(s.messages, m)
}

func (s *sim) deliverSome() {
	for range 1 + s.r.IntN(20) {
		s.deliver()
	}
}

// deliver delivers a message, in any order; it may be lost, or come again.
func (s *sim) deliver() {
	if len(s.messages) == 0 {
		return
	}
	i := s.r.IntN(len(s.messages))
	if s.chance(60) {
		i = 0 // most arrive in order
	}
	m := s.messages[i]
	if s.calm || !s.chance(7) {
		s.messages = slices.Delete(s.messages, i, i+1)
	}
	if !s.calm && (s.chance(7) || s.moves && m.kind == msgSync && s.chance(50)) { // to catch up takes long, where there is much
		return
	}
	if m.kind == msgReport {
		s.noteReport(m)
		return
	}
	for _, h := range s.hosts {
		if p := h.process; p != nil && p.self == m.to && !p.frozen && !p.cut {
			s.receive(p, m)
		}
	}
}

func (s *sim) receive(p *simProcess, m simMessage) {
	c := p.copies[m.shard]
	switch m.kind {
	case msgAppend:
		c.onAppend(m)
	case msgAck:
		c.apply(c.c.Acked(m.from, m.ack))
	case msgSync:
		c.onSync(m)
	case msgTruncate:
		verdict := c.c.Accept(m.from, m.epoch, m.leader)
		if c.c.Flaws.StaleTruncate && m.from == c.c.Config().Primary {
			verdict = Take
		}
		if verdict == Take {
			c.apply(c.c.Truncated(m.after))
			c.acknowledge()
		}
	case msgHeartbeat:
		s.onHeartbeat(p, m)
	case msgGrant:
		s.onGrant(p, m)
	case msgInstall:
		if cfg := c.c.Config(); c.gate && cfg.Epoch == m.epoch && cfg.LeaderEpoch == m.leader {
			c.next[m.from] = c.c.Commit() + 1
			s.post(p, simMessage{kind: msgSnapshot, from: p.self, to: m.from, shard: m.shard, epoch: m.epoch, leader: m.leader, table: slices.Clone(c.c.Table()), records: slices.Clone(c.log[:c.c.Commit()])})
		}
	case msgSnapshot:
		c.onSnapshot(m)
	}
}

func (c *simCopy) onAppend(m simMessage) {
	switch c.c.Accept(m.from, m.epoch, m.leader) {
	case Stale:
		cfg := c.c.Config()
		c.s.post(c.p, simMessage{kind: msgAck, from: c.p.self, to: m.from, shard: c.shard, ack: Ack{Epoch: cfg.Epoch, Leader: cfg.LeaderEpoch, Flags: AckStale}})
		return
	case Later, Sealed:
		return
	}
	if c.asks && c.c.Owed() > 0 { // it takes no records before the whole copy
		return
	}
	end := c.c.End()
	if len(m.records) > 0 {
		last := m.records[len(m.records)-1]
		switch c.c.Follows(m.prev, Point{last.epoch, last.seq}) {
		case Mismatch:
			c.synchronize()
			return
		case Take:
			if c.c.Flaws.AckUnwritten && c.s.chance(50) { // acknowledged, and gone with a crash: here, with the next row
				c.s.post(c.p, simMessage{kind: msgAck, from: c.p.self, to: m.from, shard: c.shard, ack: Ack{Epoch: m.epoch, Leader: m.leader, Written: last.seq}})
				return
			}
			c.log = append(c.log, m.records...)
			c.store()
			end = Point{last.epoch, last.seq}
		}
	}
	if c.c.NeedsSync() {
		c.synchronize()
		if !c.c.Flaws.CommitUncut {
			return
		}
	}
	c.apply(c.c.Received(end, m.commit))
	c.acknowledge()
}

func (c *simCopy) acknowledge() {
	if ack, ok := c.c.Ack(0); ok {
		c.s.post(c.p, simMessage{kind: msgAck, from: c.p.self, to: c.c.Config().Primary, shard: c.shard, ack: ack})
	}
}

func (c *simCopy) synchronize() {
	cfg := c.c.Config()
	c.s.post(c.p, simMessage{
		kind: msgSync, from: c.p.self, to: cfg.Primary, shard: c.shard, epoch: cfg.Epoch, leader: cfg.LeaderEpoch, table: slices.Clone(c.c.Table()), prev: c.c.End(),
	})
}

func (c *simCopy) onSync(m simMessage) {
	after, verdict := c.c.Sync(m.from, m.epoch, m.leader, m.table, m.prev)
	if verdict != Take {
		return // a toy log is never compacted, so the beginning is always shared
	}
	c.next[m.from] = after + 1
	c.s.post(c.p, simMessage{kind: msgTruncate, from: c.p.self, to: m.from, shard: c.shard, epoch: m.epoch, leader: m.leader, after: after})
}

func (c *simCopy) onSnapshot(m simMessage) {
	if !c.asks || c.c.Accept(m.from, m.epoch, m.leader) != Take || uint64(len(m.records)) < c.c.Owed() {
		return
	}
	c.s.event("%v installs a snapshot of shard %d with %d records", c.p.self, c.shard, len(m.records))
	c.s.counts["installed"]++
	c.asks = false
	c.log = slices.Clone(m.records)
	for i := range c.log {
		c.log[i].commit = uint64(len(c.log)) // in the folder the snapshot vouches for all of it
	}
	c.store()
	end := Point{}
	if n := len(c.log); n > 0 {
		end = Point{c.log[n-1].epoch, c.log[n-1].seq}
	}
	c.c.Installed(m.table, end)
	c.visible = end.Seq
	c.acknowledge()
}

// heartbeat sends each member of the shards that a process leads its renewals.
func (s *sim) heartbeat(p *simProcess) {
	var targets []Process
	renewals := map[Process][]simRenewal{}
	for _, c := range p.copies {
		cfg := c.c.Config()
		if !c.c.Primary() {
			continue
		}
		for _, to := range c.send {
			if renewals[to] == nil {
				targets = append(targets, to)
			}
			renewals[to] = append(renewals[to], simRenewal{c.shard, cfg.Epoch, cfg.LeaderEpoch})
		}
	}
	for _, to := range targets {
		s.post(p, simMessage{kind: msgHeartbeat, from: p.self, to: to, sentAt: s.now, renewals: renewals[to]})
	}
}

func (s *sim) onHeartbeat(p *simProcess, m simMessage) {
	var granted []simRenewal
	for _, r := range m.renewals {
		if p.copies[r.shard].c.Renew(m.from, r.epoch, r.leader, s.now, p.tick) {
			granted = append(granted, r)
		}
	}
	s.post(p, simMessage{kind: msgGrant, from: p.self, to: m.from, sentAt: m.sentAt, renewals: granted})
}

func (s *sim) onGrant(p *simProcess, m simMessage) {
	if s.world.ackLater {
		m.renewals = nil
		for _, c := range p.copies {
			m.renewals = append(m.renewals, simRenewal{c.shard, 0, c.c.Config().LeaderEpoch})
		}
	}
	for _, r := range m.renewals {
		c := p.copies[r.shard]
		key := simLease{m.from, r.leader}
		if at, ok := c.leases[key]; !ok || at < m.sentAt {
			c.leases[key] = m.sentAt
		}
		c.c.Contact(m.from, false)
		s.counts["renewed"]++
	}
}

func (s *sim) noteReport(m simMessage) {
	if s.noLeader {
		return
	}
	id := topology.ShardID(m.shard)
	report := topology.Report{
		Node: topology.NodeID(m.from.Node), Incarnation: m.from.Incarnation, Shard: id, Epoch: m.epoch, Point: topology.Point{Epoch: m.prev.Epoch, Seq: m.prev.Seq}, At: s.now / 1e6,
	}
	for i, r := range s.reports[id] {
		if r.Node == report.Node && r.Incarnation == report.Incarnation {
			if r.Epoch == report.Epoch {
				report.At = r.At
			}
			if r.Epoch <= report.Epoch {
				s.reports[id][i] = report
			}
			return
		}
	}
	s.reports[id] = append(s.reports[id], report)
}
