package shard

import (
	"fmt"
	"testing"
	"time"
)

// A snapshot lacks what is not committed, which counts as unsaved until the next one.
func TestSnapshotLeavesTheSuffixUnsaved(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	for i := range 3 {
		_, _, err := p.sh.Set(Write{Key: fmt.Append(nil, asked, i), Value: p.text("v")})
		must(t, 0, err)
		p.now += 2 * noOpInterval // so there are no-ops in between
	}
	p.ack(p.newest() - 4)
	for left := range []int64{2, 0} {
		want := int64(2 - 2*left)
		must(t, 0, p.sh.snapshots.write(false))
		stats, _ := p.Disk().Stats()
		if one := p.sh.writer.unsaved.Load(); one != want || stats.Unsaved != want {
			t.Errorf("%d changes of the shard and %d of the node are unsaved, want %d", one, stats.Unsaved, want)
		}
		p.ack(p.newest())
	}
}

// The last snapshots of a stop do not wait for commits: no other copy is connected any more.
func TestLastSnapshotsWaitForNoCommit(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	p.sh.snapshots.patience = time.Hour
	_, f, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v")})
	must(t, 0, err)
	if f.Visible() {
		t.Fatal("a change is committed that the other copy does not have")
	}
	must(t, 0, p.Store.Close(t.Context(), true))
	p.Release()
}
