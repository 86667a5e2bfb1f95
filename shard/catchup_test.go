package shard

import (
	"errors"
	"io"
	"strings"
	"testing"

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
		i, err := p.sh.Member().Install(Source{there, p.row.Epoch, p.row.LeaderEpoch}, replica.Point{Epoch: p.row.Epoch, Seq: 9}, nil)
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
