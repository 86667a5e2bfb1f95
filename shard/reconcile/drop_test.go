package reconcile

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/shard"
)

// dropScript is a script whose copy of shard 0 has a key, with clocks that the test sets.
type dropScript struct {
	*script
	clock time.Time
	heard bool
	log   bytes.Buffer
}

func newDropScript(t *testing.T) *dropScript {
	d := &dropScript{script: newScript(t), clock: time.Now(), heard: true}
	d.config.HearsLeader = func() bool { return d.heard }
	d.config.Log = slog.New(slog.NewTextHandler(&d.log, nil))
	d.drops.now = func() time.Time { return d.clock }
	began := d.clock
	d.config.Store.UseMonotonic(func() int64 { return int64(d.clock.Sub(began) + time.Minute) })
	of := d.config.Store.Shard(0)
	if !of.Acquire() {
		t.Fatal("the shard is closed")
	}
	defer of.Release()
	v := shard.Value{NPY: []byte("value")}
	v.CRC = v.Checksum(crc32c.Checksum(v.NPY))
	if _, _, err := of.Set(shard.Write{Key: []byte("k"), Value: v}); err != nil {
		t.Fatal(err)
	}
	return d
}

// moveAway brings the copy of shard 0 to node b, and takes it off node a.
func (d *dropScript) moveAway() {
	d.t.Helper()
	row := func() *topology.Shard { return &d.newest.Load().Shards[0] }
	for _, op := range []topology.Op{
		{Kind: topology.AddLearner, Node: "b", Incarnation: 1}, {Kind: topology.ExpandISR, Node: "b", Incarnation: 1},
		{Kind: topology.TransferPrimary, Node: "b", Incarnation: 1}, {Kind: topology.ShrinkISR, Node: "a"},
	} {
		op.Epoch = row().Epoch
		if errs, _ := d.apply(topology.Command{Ops: []topology.Op{op}}); errs[0] != nil {
			d.t.Fatal(op.Kind, errs[0])
		}
		d.reconcile(d.newest.Load())
	}
}

// assign sets the nodes that should have the shard.
func (d *dropScript) assign(ids ...topology.NodeID) {
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Assign, Epoch: d.newest.Load().Shards[0].Epoch, Members: ids}}})
}

// pass lets time pass, with a look each second.
func (d *dropScript) pass(seconds int) {
	for range seconds {
		d.clock = d.clock.Add(time.Second)
		d.look()
	}
}

func (d *dropScript) look() {
	d.reconcile(d.newest.Load())
	var background sync.WaitGroup
	drop(d.Reconciler, &background)
	background.Wait()
}

// want checks whether the copy is there.
func (d *dropScript) want(there bool) {
	d.t.Helper()
	if got := d.config.Store.Shard(0).Keys() > 0; got != there {
		d.t.Fatalf("the copy is there: %v", got)
	}
}

// A copy that no row names is dropped after 10 s in which that was known, and that is logged once.
func TestCopiesThatNoRowNamesAreDropped(t *testing.T) {
	t.Parallel()
	d := newDropScript(t)
	d.pass(15)
	d.want(true)
	d.moveAway()
	d.pass(10)
	d.want(true)
	d.pass(2)
	d.want(false)
	d.pass(30)
	if log := d.log.String(); strings.Count(log, "dropped copies of shards that other nodes have") != 1 || !strings.Contains(log, "shards=1") {
		t.Errorf("the log has %q", log)
	}
}

// The time counts only while raft's leader is heard, the process runs, the node is a member in this incarnation, and it is not to have a copy.
func TestWhenTheTimeOfADropCounts(t *testing.T) {
	t.Parallel()
	for name, interrupt := range map[string]func(*dropScript){
		"the leader is not heard": func(d *dropScript) { d.heard = false; d.pass(3); d.heard = true; d.look() },
		"the process stops":       func(d *dropScript) { d.clock = d.clock.Add(time.Minute); d.look() },
		"the node is assigned":    func(d *dropScript) { d.assign("b", "a"); d.pass(20); d.assign("b"); d.look() },
		"it is another start's":   func(d *dropScript) { d.config.Incarnation = 7; d.pass(20); d.config.Incarnation = 1; d.look() },
	} {
		d := newDropScript(t)
		d.moveAway()
		d.pass(8)
		interrupt(d)
		d.pass(8)
		if d.config.Store.Shard(0).Keys() == 0 {
			t.Errorf("%s: the copy was dropped too early", name)
			continue
		}
		d.pass(5)
		d.want(false)
	}
}
