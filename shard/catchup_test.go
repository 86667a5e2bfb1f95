package shard

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// A large value that is not committed reaches a copy that catches up: its entry is in the suffix, not in the index. Only what a later
// committed change has superseded may go as a deletion.
func TestUncommittedBlobsAreSent(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	set := func(key, text string) {
		_, _, err := p.sh.Set(Write{Key: []byte(key), Value: p.text(text)})
		must(t, 0, err)
	}
	large := strings.Repeat("v", persistence.BlobBytes)
	set(asked, large)
	set(asked, "small")
	p.ack(p.newest())
	set(asked, large)
	pending := p.newest()
	cursor, err := p.sh.Primary().ReadFrom(0)
	must(t, 0, err)
	defer cursor.Close()
	kinds := map[uint64]persistence.Type{}
	for {
		b, err := cursor.Next()
		if err == io.EOF {
			break
		}
		must(t, 0, err)
		for rest := b.Bytes; len(rest) > 0; {
			r, n, err := persistence.ParseWire(rest)
			must(t, 0, err)
			kinds[r.Seq], rest = r.Type, rest[n:]
		}
	}
	if kinds[pending-2] != persistence.Delete || kinds[pending-1] != persistence.Put || kinds[pending] != persistence.Put {
		t.Errorf("of a superseded, a committed and an uncommitted value the copy gets %v, %v, %v", kinds[pending-2], kinds[pending-1], kinds[pending])
	}
}

// A copy on which commits rest is not replaced: while a whole copy arrives, it would lack what it has acknowledged.
func TestACopyThatCountsInstallsNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	p.depose()
	install := func() error {
		i, err := p.sh.Member().Install(Source{there, p.row.Epoch, p.row.LeaderEpoch}, replica.Point{Epoch: p.row.Epoch, Seq: 9}, nil, 0)
		if err == nil {
			i.Abort()
		}
		return err
	}
	if err := install(); !errors.Is(err, ErrNotTaken) {
		t.Errorf("a clean member of the ISR installs: %v", err)
	}
	p.row.Epoch++
	p.row.ISR, p.row.Learners = []replica.Process{there}, []replica.Process{here}
	must(t, 0, p.sh.Role().Configure(p.row))
	if err := install(); err != nil {
		t.Errorf("a learner does not install: %v", err)
	}
}

// Under appendfsync always each acknowledgement waits for the disk, also one for records that are in the log already: another
// connection may have brought them, and not synced them yet.
func TestAcknowledgementsWaitForTheDisk(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
	must(t, 0, err)
	p.ack(p.newest())
	p.depose()
	source := Source{there, p.row.Epoch, p.row.LeaderEpoch}
	p.truncate(p.newest())
	for _, fsync := range []FsyncPolicy{FsyncEverysec, FsyncAlways} {
		p.Disk().Configure(DiskConfig{Fsync: fsync})
		if a := p.sh.Member().Advance(&source, 0); a.Kind != Acknowledge || (a.Position != 0) != (fsync == FsyncAlways) {
			t.Errorf("appendfsync %s: %+v", fsync, a)
		}
	}
}

// While nothing is committed, a shard takes on a bounded number of bytes.
func TestSuffixIsBounded(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	value := strings.Repeat("v", 1<<20)
	for n := int64(0); !p.sh.crowded(); n += int64(len(value)) {
		if n > maxHeld {
			t.Fatalf("%d bytes are held and count as %d", n, p.sh.held.Load())
		}
		_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text(value)})
		must(t, 0, err)
	}
	waits := make(chan error, 1)
	go func() {
		_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("one more")})
		waits <- err
	}()
	select {
	case err := <-waits:
		t.Fatalf("a write did not wait for room: %v", err)
	case <-time.After(10 * roomStep):
	}
	p.ack(p.newest())
	must(t, 0, <-waits)
	p.ack(p.newest())
	if left := p.sh.held.Load(); left != 0 {
		t.Errorf("nothing is held, and %d bytes are counted", left)
	}
}

// A process that has no file descriptor left has not lost its log: the member is asked again instead of getting a whole copy.
func TestNoFileDescriptorIsNoLostHistory(t *testing.T) {
	t.Parallel()
	for err, gone := range map[error]bool{
		syscall.EMFILE: false, syscall.ENFILE: false, persistence.ErrCompacted: true, io.ErrUnexpectedEOF: true,
	} {
		if got := errors.Is(lost(fmt.Errorf("reading: %w", err)), ErrNoHistory); got != gone {
			t.Errorf("%v: no history: %v", err, got)
		}
	}
	if err := lost(nil); err != nil {
		t.Error(err)
	}
}

// A frame of a catch-up may have records of several epochs. The member knows each of them, or it would find no common point later.
func TestFrameOfSeveralEpochs(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	for range 3 {
		_, _, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
		must(t, 0, err)
		p.ack(p.newest())
		p.goOn(here, there)
	}
	c, err := p.sh.Primary().ReadFrom(0)
	must(t, 0, err)
	defer c.Close()
	b, err := c.Next()
	must(t, 0, err)

	store := NewClosedStore(labShards, func() int64 { return p.now }, p.pool)
	defer store.Release()
	store.Identify(there)
	store.disk.frame = unframed
	member := store.Shard(p.sh.id)
	must(t, 0, member.Role().Configure(p.row))
	source := &Source{From: here, Epoch: p.row.Epoch, Leader: p.row.LeaderEpoch}
	member.Member().Truncate(source, 0)
	_, err = member.Member().Append(source, b.Prev, b.Commit, b.Bytes, func(uint64) *Entry { return nil })
	must(t, 0, err)
	got := member.Member().SyncRequest()
	if want := p.sh.localCopy.rules.Table(); len(want) < 3 || b.Last != p.sh.localCopy.rules.End() || !slices.Equal(got.Table, want) || got.End != b.Last {
		t.Errorf("the member has %v up to %v, the primary %v up to %v", got.Table, got.End, want, b.Last)
	}
}
