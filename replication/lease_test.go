package replication

import (
	"math"
	"testing"

	"github.com/ndring/ndring/replica"
)

// An acknowledged heartbeat renews leases of the shards that the member has granted, in the leader epochs that the heartbeat had
// named (M5). The acknowledgement may come when this process leads in a later one: another has led in between, and the member
// that answered the heartbeat had not heard of the new leader epoch yet.
func TestAGrantRenewsWhatItsHeartbeatNamed(t *testing.T) {
	t.Parallel()
	a := startNode(t, newNetwork(), "a", 1, nil)
	b := replica.Process{Node: "b", Incarnation: 1} // nothing reaches it: the test answers for it
	row := replica.Config{ISR: []replica.Process{a.self, b}, Primary: a.self}
	lead := func(id int, epoch uint64) {
		row.Epoch, row.LeaderEpoch = epoch, epoch
		if err := a.store.Shard(id).Role().Configure(row); err != nil {
			t.Fatal(err)
		}
	}
	sentAt := func(want int64, id int, leader uint64) {
		t.Helper()
		if got := a.repl.Heard(b, id, leader); got != want {
			t.Errorf("shard %d, leader epoch %d: the heartbeat left at %d, want %d", id, leader, got, want)
		}
	}
	for id := range 3 {
		lead(id, 1)
	}
	p := (*a.repl.peers.Load())[b]
	first := beat{1000, p.renewals()}
	lead(1, 3)
	second := beat{2000, p.renewals()}
	lead(2, 3)

	const none = math.MinInt64
	p.grant(&first, []byte{0b110}) // of shards 1 and 2
	sentAt(none, 0, 1)
	for id := 1; id <= 2; id++ {
		sentAt(none, id, 3)
		sentAt(1000, id, 1)
	}
	p.grant(&second, []byte{0b111})
	sentAt(2000, 0, 1)
	sentAt(2000, 1, 3)
	sentAt(none, 1, 1)
	sentAt(none, 2, 3)
	p.grant(&beat{3000, p.renewals()}, []byte{0b111})
	sentAt(3000, 2, 3)
}
