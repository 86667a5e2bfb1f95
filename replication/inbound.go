package replication

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// inbound is what other nodes send to this one.
type inbound struct {
	r *Replicator

	mu         sync.Mutex // guards all below
	uploads    map[uploadKey]*upload
	closed     bool // uploads stays empty
	heartbeats map[replica.Process]*heard
}

// uploadKey names a large value that came ahead of its record.
type uploadKey struct {
	from replica.Process
	id   uint64
}

// upload is such a value.
type upload struct {
	shard int
	entry *shard.Entry
	came  time.Time
}

// heard are the newest heartbeats of a process, and when this node acknowledged them, by Store.Monotonic.
type heard struct {
	n  [keptBeats]uint64
	at [keptBeats]int64
}

// keptBeats is how many are kept: half a second of them, when readers ask for rounds all the time.
const keptBeats = 512

// uploadTime is how long a value waits for its record. Of those that wait, the oldest go when there are many bytes of them; the newest
// uploadsKept stay. A primary sends the value again if its record comes after all.
const (
	uploadTime  = time.Minute
	uploadBytes = 256 << 20
	uploadsKept = 16
)

func (i *inbound) init(r *Replicator) {
	i.r, i.uploads, i.heartbeats = r, map[uploadKey]*upload{}, map[replica.Process]*heard{}
}

// Serve handles a connection that a process has dialled, until it ends.
func (r *Replicator) Serve(from replica.Process, kind Kind, conn Conn) {
	defer conn.Close()
	switch kind {
	case Append:
		r.inbound.serveAppend(from, conn)
	case Heartbeat:
		r.inbound.serveHeartbeat(from, conn)
	case Bulk:
		r.inbound.serveBulk(from, conn)
	}
}

// noteHeartbeat notes when a heartbeat is acknowledged.
func (i *inbound) noteHeartbeat(from replica.Process, n uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	h := i.heartbeats[from]
	if h == nil {
		if len(i.heartbeats) > 1024 { // processes that have ended
			clear(i.heartbeats)
		}
		h = &heard{}
		i.heartbeats[from] = h
	}
	h.n[n%keptBeats], h.at[n%keptBeats] = n, i.r.config.Store.Monotonic()
}

// acknowledgedAt returns when this node acknowledged a heartbeat; 0 if it is too old.
func (i *inbound) acknowledgedAt(from replica.Process, n uint64) int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if h := i.heartbeats[from]; h != nil && h.n[n%keptBeats] == n {
		return h.at[n%keptBeats]
	}
	return 0
}

// serveAppend takes what a primary appends until its connection ends. It answers all that it has read with one write.
func (i *inbound) serveAppend(from replica.Process, conn Conn) {
	r := newReader(conn)
	s := appendSession{in: i, from: from, conn: conn}
	for {
		f, ok, err := r.next()
		switch {
		case err == nil && ok && f.shard >= i.r.config.Shards:
			err = errFrame
		case err == nil && ok:
			err = s.handle(&f)
		case err == nil:
			if err = s.flush(); err == nil {
				err = r.fill()
			}
			if err != nil {
				return
			}
		}
		if err != nil {
			i.r.config.Log.Warn("the connection of a primary ends", "from", from.Node, "err", err)
			return
		}
	}
}

// appendSession answers the frames of an append connection.
type appendSession struct {
	in   *inbound
	from replica.Process
	conn Conn
	out  []byte
	held []heldAck // acknowledgements that wait for a sync
}

// heldAck is an acknowledgement of what must be synced first.
type heldAck struct {
	shard    int
	position persistence.Position
	frame    frame
}

// handle carries out a frame.
func (s *appendSession) handle(f *frame) error {
	in := s.in
	in.r.stats.BytesIn.Add(int64(headBytes + len(f.body)))
	member := in.r.config.Store.Shard(f.shard).Member()
	source := shard.Source{From: s.from, Epoch: f.epoch, Leader: f.leader}
	var answer shard.Answer
	switch f.kind {
	case kindAppend:
		var err error
		answer, err = member.Append(&source, replica.Point{Epoch: f.x, Seq: f.y}, f.z, f.body, func(id uint64) *shard.Entry { return in.takeUpload(s.from, id) })
		if err != nil {
			return err
		}
	case kindAsk:
		answer = member.Advance(&source, f.z)
	case kindCommit:
		return s.commit(&source, member, f)
	case kindTruncate:
		answer = member.Truncate(&source, f.x)
	default:
		return errFrame
	}
	s.answer(f.shard, member, &answer)
	return nil
}

// commit carries out a frame with the primary's commit index and digest. It is answered only if the copies differ, or if the member
// must synchronize first, which the primary may have missed.
func (s *appendSession) commit(source *shard.Source, member shard.Member, f *frame) error {
	digest, compare, err := parseDigest(f.body)
	if err != nil {
		return err
	}
	switch answer := member.Advance(source, f.z); answer.Kind {
	case shard.Acknowledge:
	case shard.Synchronize:
		s.answer(f.shard, member, &answer)
		return nil
	default:
		return nil
	}
	if f.x != 0 {
		member.Freshen(source, f.z, s.in.acknowledgedAt(s.from, f.x))
	}
	if compare {
		answer := member.Compare(source, digest)
		s.answer(f.shard, member, &answer)
	}
	return nil
}

// answer queues what a member says.
func (s *appendSession) answer(id int, member shard.Member, a *shard.Answer) {
	switch a.Kind {
	case shard.Acknowledge:
		f := frame{kind: kindAck, flags: uint8(a.Ack.Flags | s.in.r.config.Store.Full()), shard: id, epoch: a.Ack.Epoch, leader: a.Ack.Leader, x: a.Ack.Written, y: a.Ack.Synced}
		if a.Position != 0 {
			s.held = append(s.held, heldAck{id, a.Position, f})
			return
		}
		s.out = f.appendTo(s.out)
	case shard.Synchronize:
		q := member.SyncRequest()
		f := frame{kind: kindSync, shard: id, epoch: q.Epoch, leader: q.Leader, x: q.End.Epoch, y: q.End.Seq, body: appendTable(nil, q.Table)}
		if q.Install {
			f.flags = flagInstall
		}
		s.out = f.appendTo(s.out)
	}
}

// flush syncs what must be synced before it is acknowledged, and sends the answers.
func (s *appendSession) flush() error {
	if len(s.held) > 0 {
		s.sync()
	}
	if len(s.out) == 0 {
		return nil
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := s.conn.Write(s.out)
	s.in.r.stats.BytesOut.Add(int64(len(s.out)))
	s.out = s.out[:0]
	if cap(s.out) > maxKept {
		s.out = nil
	}
	return err
}

// sync syncs the logs of several shards side by side, each once.
func (s *appendSession) sync() {
	newest := map[int]persistence.Position{}
	for i := range s.held {
		newest[s.held[i].shard] = max(newest[s.held[i].shard], s.held[i].position)
	}
	failed := make([]bool, s.in.r.config.Shards)
	var all sync.WaitGroup
	for id, position := range newest {
		all.Go(func() { failed[id] = s.in.r.config.Store.Shard(id).Member().SyncLog(position) != nil })
	}
	all.Wait()
	for i := range s.held {
		h := &s.held[i]
		if failed[h.shard] {
			h.frame.flags |= uint8(replica.AckFailed)
			h.frame.x, h.frame.y = 0, 0
		}
		s.out = h.frame.appendTo(s.out)
	}
	s.held = s.held[:0]
}

// takeUpload returns the value that a process has uploaded, with its reference; nil if there is none.
func (i *inbound) takeUpload(from replica.Process, id uint64) *shard.Entry {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := uploadKey{from, id}
	u := i.uploads[key]
	if u == nil {
		return nil
	}
	delete(i.uploads, key)
	return u.entry
}

// keepUpload keeps a value until its record comes. It gives back what had its place before, the oldest ones if there are too many, and after
// close the value itself.
func (i *inbound) keepUpload(key uploadKey, u *upload) {
	i.mu.Lock()
	old := []*upload{u}
	if !i.closed {
		old = old[:0]
		if before := i.uploads[key]; before != nil {
			old = append(old, before)
		}
		i.uploads[key] = u
		old = append(old, i.tooMany()...)
	}
	i.mu.Unlock()
	for _, u := range old {
		u.discard(i.r)
	}
}

// tooMany takes out the oldest values if there are too many. The caller holds mu.
func (i *inbound) tooMany() (old []*upload) {
	bytes := int64(0)
	for _, u := range i.uploads {
		bytes += u.entry.Footprint()
	}
	if len(i.uploads) <= uploadsKept || bytes <= uploadBytes {
		return nil
	}
	keys := slices.SortedFunc(maps.Keys(i.uploads), func(a, b uploadKey) int { return i.uploads[a].came.Compare(i.uploads[b].came) })
	for _, key := range keys[:len(keys)-uploadsKept] {
		if bytes <= uploadBytes {
			break
		}
		bytes -= i.uploads[key].entry.Footprint()
		old = append(old, i.uploads[key])
		delete(i.uploads, key)
	}
	return old
}

// sweepLoop gives back old values, also if no node sends anything.
func (i *inbound) sweepLoop() {
	tick := time.NewTicker(uploadTime / 10)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			i.sweep(now)
		case <-i.r.context.Done():
			return
		}
	}
}

// sweep gives values back whose records have not come in time: their writes have not happened, or their primary is gone.
func (i *inbound) sweep(now time.Time) {
	i.mu.Lock()
	var old []*upload
	for key, u := range i.uploads {
		if now.Sub(u.came) > uploadTime {
			old = append(old, u)
			delete(i.uploads, key)
		}
	}
	i.mu.Unlock()
	for _, u := range old {
		u.discard(i.r)
	}
}

func (u *upload) discard(r *Replicator) { r.config.Store.Shard(u.shard).Member().Discard(u.entry) }

// drop gives back all values.
func (i *inbound) drop() {
	i.mu.Lock()
	all := i.uploads
	i.uploads = map[uploadKey]*upload{}
	i.mu.Unlock()
	for _, u := range all {
		u.discard(i.r)
	}
}

// close gives back all values, and those that connections still receive.
func (i *inbound) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.drop()
}
