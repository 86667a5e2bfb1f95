package shard

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
)

var (
	here  = replica.Process{Node: "here", Incarnation: 1}
	there = replica.Process{Node: "there", Incarnation: 1}
)

// silent is a Replicator whose other copies never answer by themselves. It checks that batches follow one another; a batch may go to
// several copies.
type silent struct {
	t      testing.TB
	sent   int
	unsent atomic.Int64 // batches since Send
	last   replica.Point
	room   chan struct{} // nil: there is room
	rounds int
	heard  int64 // what Heard returns; 0 for none
	full   replica.AckFlags
	upload func(context.Context) // nil: it has arrived
}

func (r *silent) Configure(int, replica.Config, []replica.Process) {}

func (r *silent) Send(int) { r.unsent.Store(0) }

func (r *silent) Enqueue(_ replica.Process, _ int, batch *Batch) {
	records, seq := 0, batch.Prev.Seq
	for b := batch.Bytes; len(b) > 0; records++ {
		rec, n, err := persistence.ParseWire(b)
		if err != nil || rec.Seq != seq+1 {
			r.t.Errorf("record %d follows %d: %v", rec.Seq, seq, err)
			return
		}
		b, seq = b[n:], rec.Seq
	}
	if records == 0 || r.last != (replica.Point{}) && r.last.Seq > batch.Prev.Seq && r.last != batch.Last || batch.Last.Seq != seq {
		r.t.Errorf("a batch of %d changes follows %v, before it came %v", records, batch.Prev, r.last)
	}
	r.sent += records
	r.unsent.Add(1)
	r.last = batch.Last
}

func (r *silent) Upload(ctx context.Context, _ int, _ Large) error {
	if r.upload != nil {
		r.upload(ctx)
	}
	return nil
}

func (r *silent) Room(int) <-chan struct{} {
	if r.room == nil {
		return nil
	}
	return r.room
}

func (r *silent) Round(int) { r.rounds++ }

func (r *silent) Heard(replica.Process, int, uint64) int64 {
	if r.heard == 0 {
		return math.MinInt64
	}
	return r.heard
}

func (r *silent) Full(int) replica.AckFlags { return r.full }

// pair is a shard with two copies, of which the test plays the other.
type pair struct {
	*lab
	sh         *Shard
	replicator *silent
	mem        *vfs.Mem // nil without a log
	broken     bool     // the disk
	hang       func()   // is called before each change of the disk, unless nil
	row        replica.Config
}

func newPair(t testing.TB, logged bool) *pair {
	p := &pair{replicator: &silent{t: t}}
	if logged {
		p.mem = vfs.NewMem()
	}
	p.start(t, 1_000_000)
	p.lead(here, there)
	return p
}

// start starts a process with the folder.
func (p *pair) start(t testing.TB, now int64) {
	p.lab = &lab{t: t, pool: new(memory.Pool), now: now}
	p.Store = NewClosedStore(labShards, func() int64 { return p.now }, p.pool)
	p.mono = func() int64 { return p.now * 1e6 }
	p.Identify(here)
	p.UseReplicator(p.replicator, unframed, slog.New(slog.DiscardHandler))
	if p.mem != nil {
		fs := vfs.NewFaulty(p.mem, func(int) error {
			if p.hang != nil {
				p.hang()
			}
			if p.broken {
				return errIO
			}
			return nil
		})
		d, err := persistence.OpenDisk(fs, "data", persistence.Options{
			Shards: labShards, BootID: "a", Log: slog.New(slog.DiscardHandler), NextIncarnation: func(last uint64) uint64 { return last + 1 },
		})
		must(t, d, err)
		p.UseDisk(d, true, unframed, slog.New(slog.DiscardHandler))
		p.Disk().Configure(DiskConfig{Fsync: FsyncEverysec})
		must(t, 0, p.Disk().Recover(t.Context(), slog.New(slog.DiscardHandler)))
	}
	p.sh = p.of(asked)
	p.sh.snapshots.patience = time.Millisecond
	p.replicator.last = replica.Point{}
}

// end ends the process as kill -9 does, and checks that it has leaked no buffer.
func (p *pair) end() {
	if p.mem != nil {
		p.kill()
		return
	}
	p.Release()
	if n := p.pool.Buffers() + p.tablePool.Buffers(); n != 0 {
		p.t.Errorf("%d buffers are still held", n)
	}
}

// lead makes this process the primary in a new leader epoch. The other copy acknowledges the no-op.
func (p *pair) lead(isr ...replica.Process) {
	p.t.Helper()
	p.row = replica.Config{Epoch: p.row.Epoch + 1, LeaderEpoch: p.row.Epoch + 1, Born: 1, Primary: here, ISR: isr}
	must(p.t, 0, p.sh.Role().Configure(p.row))
	if len(isr) > 1 {
		if p.sh.Serving() {
			p.t.Error("the shard is open before the no-op of its leader epoch is committed")
		}
		p.ack(p.newest())
	}
	if !p.sh.Serving() {
		p.t.Error("the shard is closed")
	}
}

// newest returns the seq of the newest record.
func (p *pair) newest() uint64 {
	_, seq := p.sh.Newest()
	return seq
}

// ack is an acknowledgement of the other copy.
func (p *pair) ack(seq uint64) {
	p.sh.Role().Acked(there, replica.Ack{Epoch: p.row.Epoch, Leader: p.row.LeaderEpoch, Written: seq, Synced: seq})
}

// goOn changes the ISR within the leader epoch.
func (p *pair) goOn(isr ...replica.Process) {
	p.t.Helper()
	p.row.Epoch++
	p.row.ISR = isr
	must(p.t, 0, p.sh.Role().Configure(p.row))
}

// depose makes the other process the primary.
func (p *pair) depose() {
	p.t.Helper()
	p.row = replica.Config{Epoch: p.row.Epoch + 1, LeaderEpoch: p.row.Epoch + 1, Born: 1, Primary: there, ISR: []replica.Process{here, there}}
	must(p.t, 0, p.sh.Role().Configure(p.row))
}

func (p *pair) text(text string) Value {
	v := Value{NPY: []byte(text)}
	v.CRC = v.Checksum(crc32c.Checksum(v.NPY))
	return v
}

// truncate plays the primary that tells this copy what their logs share.
func (p *pair) truncate(after uint64) {
	p.t.Helper()
	a := p.sh.Member().Truncate(&Source{there, p.row.Epoch, p.row.LeaderEpoch}, after)
	if a.Kind != Acknowledge || a.Ack.Flags != 0 || a.Ack.Written != after {
		p.t.Errorf("truncated after %d, the copy says %+v", after, a)
	}
}

// configureCopies changes what clients may expect of copies.
func (p *pair) configureCopies(change func(*CopyConfig)) {
	config := *p.copies.Load()
	change(&config)
	p.ConfigureCopies(config)
}
