package replica

import (
	"math"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// simCopy is a copy of a shard in a process, with the log that the process has written.
type simCopy struct {
	s       *sim
	p       *simProcess
	shard   int
	c       *Copy
	log     []simRecord
	visible uint64
	gate    bool
	send    []Process
	next    map[Process]uint64 // seq of the next record for a member, known after its Sync
	leases  map[simLease]int64 // when the newest heartbeat that was acknowledged left
	reads   []simRead
	asks    bool // it needs a snapshot
}

type simLease struct {
	process Process
	leader  uint64
}

func (c *simCopy) sent(p Process, leader uint64) int64 {
	if at, ok := c.leases[simLease{p, leader}]; ok {
		return at
	}
	return math.MinInt64
}

// apply carries out effects in their order.
func (c *simCopy) apply(e Effects) {
	s := c.s
	if e.StepDown || e.Close {
		c.gate = false
	}
	if e.StepDown {
		c.reads, c.send = nil, nil
		clear(c.next)
	}
	if e.Truncate != nil {
		s.event("%v truncates shard %d behind %d", c.p.self, c.shard, *e.Truncate)
		s.counts["truncated"]++
		s.checkTruncate(c, *e.Truncate)
		c.log = c.log[:*e.Truncate]
		c.store()
	}
	if e.Install {
		s.checkInstall(c)
		c.asks = true
		c.install()
	}
	if e.Send != nil {
		c.send = e.Send
	}
	if e.NoOp {
		c.append(0)
	}
	if e.Commit != 0 {
		s.checkCommit(c, e.Commit)
		c.visible = max(c.visible, e.Commit)
		c.tell(nil)
	}
	if e.Open {
		s.event("%v opens shard %d in epoch %d", c.p.self, c.shard, c.c.Config().Epoch)
		c.gate = true
		s.checkOpen(c)
	}
	if e.Send != nil {
		c.tell(nil)
	}
	if e.Propose != nil {
		c.propose(e.Propose)
	}
	if e.Report {
		s.event("%v reports shard %d epoch %d with %v", c.p.self, c.shard, c.c.Config().Epoch, c.c.End())
		s.counts["reported"]++
		c.report()
	}
}

// store writes the log to the folder.
func (c *simCopy) store() { c.p.host.folder.logs[c.shard] = slices.Clone(c.log) }

// append appends a record as the primary: into its own log first, then to the members.
func (c *simCopy) append(id int) {
	s, epoch, seq := c.s, c.c.Config().Epoch, uint64(len(c.log))+1
	r := simRecord{epoch: epoch, seq: seq, commit: c.c.Commit(), id: id}
	if c.c.Alone() {
		r.commit = seq
	}
	if s.world.appendLast && s.chance(30) { // the own log refuses what the members have
		c.tell([]simRecord{r})
		return
	}
	s.checkAppend(c, r)
	c.log = append(c.log, r)
	c.store()
	e := c.c.Appended(seq)
	c.tell([]simRecord{r})
	if s.world.noHoldBack {
		e.Commit = seq
	}
	c.apply(e)
}

// tell sends records, or nothing but the commit index, to the members that have what precedes.
func (c *simCopy) tell(records []simRecord) {
	if !c.c.Primary() {
		return
	}
	for _, to := range c.send {
		batch := records
		if len(records) > 0 && c.next[to] != records[0].seq {
			batch = nil
		}
		if len(batch) > 0 {
			c.next[to]++
		}
		c.sendAppend(to, batch)
	}
}

func (c *simCopy) sendAppend(to Process, records []simRecord) {
	cfg := c.c.Config()
	m := simMessage{kind: msgAppend, from: c.p.self, to: to, shard: c.shard, epoch: cfg.Epoch, leader: cfg.LeaderEpoch, records: records, commit: c.c.Commit()}
	if len(records) > 0 && records[0].seq > 1 {
		before := c.log[records[0].seq-2]
		m.prev = Point{before.epoch, before.seq}
	}
	c.s.post(c.p, m)
}

// resend sends a member what it has not acknowledged, from where it is known to be.
func (c *simCopy) resend() {
	if c.asks {
		c.install()
	}
	if !c.c.Primary() {
		return
	}
	for _, to := range c.send {
		if match, _ := c.c.Match(to); c.next[to] > 0 && match < uint64(len(c.log)) {
			from := max(match, 0)
			if c.s.chance(50) {
				from = c.next[to] - 1
			}
			c.sendRun(to, from)
		} else {
			c.sendAppend(to, nil)
		}
	}
}

// sendRun sends the records behind a seq that are in one epoch.
func (c *simCopy) sendRun(to Process, after uint64) {
	if after >= uint64(len(c.log)) {
		c.sendAppend(to, nil)
		return
	}
	n := after + 1
	for n < uint64(len(c.log)) && c.log[n].epoch == c.log[after].epoch && c.s.chance(70) {
		n++
	}
	c.next[to] = n + 1
	c.sendAppend(to, slices.Clone(c.log[after:n]))
}

// install asks the primary for its whole copy, once raft does not count on this one (R7, MarkUnclean).
func (c *simCopy) install() {
	cfg := c.c.Config()
	if cfg.inISR(c.p.self) && !cfg.unclean(c.p.self) {
		c.apply2(c.c.Damaged())
		return
	}
	c.s.post(c.p, simMessage{kind: msgInstall, from: c.p.self, to: cfg.Primary, shard: c.shard, epoch: cfg.Epoch, leader: cfg.LeaderEpoch})
}

// apply2 carries out effects that cannot ask for an install again.
func (c *simCopy) apply2(e Effects) {
	if e.Propose != nil {
		c.propose(e.Propose)
	}
}

var simKinds = map[ProposalKind]topology.Kind{
	Shrink: topology.ShrinkISR, Expand: topology.ExpandISR, Handover: topology.TransferPrimary, Resign: topology.Resign, MarkUnclean: topology.MarkUnclean,
}

func (c *simCopy) op(p *Proposal) topology.Op {
	op := topology.Op{
		Kind: simKinds[p.Kind], Shard: topology.ShardID(c.shard), Epoch: p.Epoch, Node: topology.NodeID(p.Target.Node), Incarnation: p.Target.Incarnation,
	}
	if p.Kind == Resign {
		op.Node, op.Incarnation = c.p.host.id, 0
	}
	return op
}

func (c *simCopy) propose(p *Proposal) { c.s.propose(c.p, c.shard, c.op(p)) }

func (c *simCopy) report() {
	end := c.c.End()
	c.s.post(c.p, simMessage{kind: msgReport, from: c.p.self, shard: c.shard, epoch: c.c.Config().Epoch, prev: end})
}

// primaries returns the copies that serve, in processes that run.
func (s *sim) primaries() []*simCopy {
	var out []*simCopy
	for _, p := range s.running() {
		for _, c := range p.copies {
			if c.gate {
				out = append(out, c)
			}
		}
	}
	return out
}

func (s *sim) write() {
	if of := s.primaries(); len(of) > 0 && !(s.idle && s.chance(90)) {
		c := pick(s, of)
		s.ids++
		s.event("%v appends write %d to shard %d in epoch %d at %d", c.p.self, s.ids, c.shard, c.c.Config().Epoch, len(c.log)+1)
		c.append(s.ids)
	}
}

func (s *sim) handOver() {
	of := s.primaries()
	if len(of) == 0 {
		return
	}
	c := pick(s, of)
	to := Process{}
	if isr := c.c.Config().ISR; len(isr) > 1 && s.chance(80) {
		for to = c.p.self; to == c.p.self; {
			to = pick(s, isr)
		}
	}
	s.event("%v hands shard %d over to %v", c.p.self, c.shard, to)
	c.apply(c.c.Transfer(to))
	if s.chance(30) {
		c.apply(c.c.Reopen())
	}
}

// configOf returns the row of a shard with the incarnations of the nodes.
func configOf(t *topology.Topology, shard int) Config {
	row := t.Shards[shard]
	process := func(id topology.NodeID) Process {
		n, _ := t.Node(id)
		return Process{string(id), n.Incarnation}
	}
	list := func(ids []topology.NodeID) (out []Process) {
		for _, id := range ids {
			out = append(out, process(id))
		}
		return out
	}
	cfg := Config{
		Epoch: row.Epoch, LeaderEpoch: row.LeaderEpoch, Born: row.EmptySince, Relinquished: row.Relinquished, Unsealed: row.Unsealed,
		ISR: list(row.ISR), Unclean: list(row.Unclean), Learners: list(row.Learners), Assigned: list(row.Assigned),
	}
	if row.Primary != "" {
		cfg.Primary = process(row.Primary)
	}
	return cfg
}

// learn takes a process to a topology of raft's history.
func (s *sim) learn(p *simProcess, index int) {
	p.applied, p.host.folder.applied = index, index
	t := s.history[index]
	if t.Cluster == "" {
		return
	}
	if n, ok := t.Node(p.host.id); ok && n.Incarnation == p.self.Incarnation {
		p.host.folder.unclean = false // raft knows it now
		p.host.folder.starts = []uint64{p.self.Incarnation}
	}
	for _, c := range p.copies {
		cfg := configOf(t, c.shard)
		if cfg.Epoch < c.c.Config().Epoch {
			continue
		}
		if c.c.Outdated(cfg.Born) {
			s.event("%v removes its copy of shard %d: it began empty in epoch %d", p.self, c.shard, cfg.Born)
			fresh := New(p.self, nil, 0, 0)
			fresh.Flaws, fresh.Times = s.flaws, simTimes
			*c = simCopy{s: s, p: p, shard: c.shard, c: fresh, next: map[Process]uint64{}, leases: map[simLease]int64{}}
			c.store()
		}
		c.apply(c.c.Configure(cfg, s.now, p.tick))
		if !c.c.damaged {
			p.host.folder.broken[c.shard] = false // raft knows it now
		}
		if p.dead {
			return
		}
	}
}

func (s *sim) learnOne() {
	if of := s.running(); len(of) > 0 {
		p := pick(s, of)
		behind := len(s.history) - 1 - p.applied
		if behind == 0 || p.cut || p.host.id == s.slow && s.chance(95) {
			return
		}
		step := 1
		if s.moves && p.host.id == s.slow { // it misses rows
			step = behind
		} else if s.chance(50) {
			step += s.r.IntN(behind)
		}
		s.learn(p, p.applied+step)
	}
}
