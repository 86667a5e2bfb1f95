package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// made returns a topology with nodes a, b and c in incarnation 1 and the given shard 0.
func made(t testing.TB, row Shard) *Topology {
	t.Helper()
	topo, errs := (*Topology)(nil).Apply(1, Command{[]Op{{Kind: Create, Cluster: "c", Shards: 16, Replicas: 2, Epoch: 5, Format: LatestFormat, Nodes: []Node{
		{ID: "c", Incarnation: 1, Store: "C", Log: true}, {ID: "a", Incarnation: 1, Store: "A", Log: true}, {ID: "b", Incarnation: 1, Store: "B", Log: true}}}}})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if row.Epoch > 0 {
		if row.Primary != "" && row.LeaderEpoch == 0 {
			row.LeaderEpoch = row.Epoch
		}
		topo.Shards[0] = row
	}
	if err := topo.Check(); err != nil {
		t.Fatal(err)
	}
	return topo
}

func ids(s string) []NodeID {
	if s == "" {
		return nil
	}
	var out []NodeID
	for _, id := range strings.Split(s, ",") {
		out = append(out, NodeID(id))
	}
	return out
}

// Each op on a row: the row afterwards, or why the op is refused. Nodes a, b and c are in incarnation 1 and keep logs.
func TestOpsOnAShard(t *testing.T) {
	for _, tc := range []struct {
		name    string
		was, op string
		want    string
		err     error
		losses  uint64
	}{
		{"promote a reporter", "7 born 5 isr a", "promote a/1 e7 by a/1", "8 leader 8 born 5 primary a isr a", nil, 0},
		{"promote one that has not reported", "7 born 5 isr a,b", "promote a/1 e7 isr a,b by b/1", "", ErrRefused, 0},
		{"promote without a report", "7 born 5 isr a", "promote a/1 e7", "", ErrRefused, 0},
		{"promote by a report of an earlier process", "7 born 5 isr a,b", "promote a/1 e7 by a/1,b/0", "", ErrStale, 0},
		{"promote by a report of the node's earlier process", "7 born 5 isr a", "promote a/1 e7 by a/0", "", ErrStale, 0},
		{"promote by a report of a node that is forgotten", "7 born 5 isr a", "promote a/1 e7 by a/1,z/1", "", ErrUnknownNode, 0},
		{"promote by a report from outside the ISR", "7 born 5 isr a learners b", "promote a/1 e7 by a/1,b/1", "", ErrRefused, 0},
		{"promote, others leave the ISR", "7 born 5 isr a,b,c assigned b,a", "promote b/1 e7 isr c,b by b/1", "8 leader 8 born 5 primary b isr c,b learners a assigned b,a", nil, 0},
		{"promote in place of another", "7 leader 6 born 5 primary a isr a,b learners c", "promote b/1 e7 by b/1", "8 leader 8 born 5 primary b isr b learners c", nil, 0},
		{"promote, the old primary stays and has not reported", "7 born 5 primary a isr a,b", "promote b/1 e7 isr a,b by b/1", "", ErrRefused, 0},
		{"promote, the old primary stays and has reported", "7 born 5 primary a isr a,b", "promote b/1 e7 isr a,b by b/1,a/1", "8 leader 8 born 5 primary b isr a,b", nil, 0},
		{"promote the primary", "7 born 5 primary a isr a,b", "promote a/1 e7 isr a,b by a/1", "", ErrStale, 0},
		{"promote the primary with a smaller ISR", "7 born 5 primary a isr a,b", "promote a/1 e7 by a/1", "", ErrStale, 0},
		{"promote ends what was relinquished", "7 born 5 isr a relinquished", "promote a/1 e7 by a/1", "8 leader 8 born 5 primary a isr a", nil, 0},
		{"promote after a silence seals the row", "7 leader 6 born 5 isr a unsealed", "promote a/1 e7 by a/1", "8 leader 8 born 5 primary a isr a", nil, 0},
		{"promote without a silence leaves the row unsealed", "7 leader 6 born 5 isr a relinquished unsealed", "promote a/1 e7 by a/1", "8 leader 8 born 5 primary a isr a unsealed", nil, 0},
		{"promote an unclean member beside a clean one", "7 born 5 isr a,b unclean a", "promote a/1 e7 by a/1,b/1", "", ErrRefused, 0},
		{"promote with an unclean member in the new ISR", "7 born 5 isr a,b unclean a", "promote b/1 e7 isr a,b by a/1,b/1", "", ErrRefused, 0},
		{"promote the clean member, the unclean one leaves", "7 born 5 isr a,b unclean a assigned a,b lossy", "promote b/1 e7 by b/1", "8 leader 8 born 5 primary b isr b learners a assigned a,b", nil, 0},
		{"promote in an earlier epoch", "7 born 5 isr a", "promote a/1 e6 by a/1", "", ErrStale, 0},
		{"promote in a later epoch", "7 born 5 isr a", "promote a/1 e8 by a/1", "", ErrStale, 0},
		{"promote another incarnation", "7 born 5 isr a", "promote a/2 e7 by a/1", "", ErrStale, 0},
		{"promote without an incarnation", "7 born 5 isr a", "promote a e7 by a/1", "", ErrStale, 0},
		{"promote a node outside the ISR", "7 born 5 isr a learners b", "promote b/1 e7 by a/1", "", ErrRefused, 0},
		{"promote with a larger ISR", "7 born 5 isr a learners b", "promote a/1 e7 isr a,b by a/1", "", ErrRefused, 0},
		{"promote with an ISR without the node", "7 born 5 isr a,b", "promote a/1 e7 isr b by a/1", "", ErrRefused, 0},
		{"promote with a duplicate", "7 born 5 isr a,b", "promote a/1 e7 isr a,a by a/1", "", ErrRefused, 0},
		{"promote a non-member", "7 born 5 isr a", "promote z e7 by a/1", "", ErrUnknownNode, 0},
		{"promote empty", "7 born 5 learners b", "promote a/1 e7 empty", "8 leader 8 born 8 primary a isr a", nil, 0},
		{"promote empty where there is a copy", "7 born 5 isr a", "promote b/1 e7 empty", "", ErrRefused, 0},
		{"promote empty where there is an unclean copy", "7 born 5 isr a unclean a", "promote b/1 e7 empty", "", ErrRefused, 0},
		{"promote empty where the last copy was wiped", "7 born 5 wiped a assigned b", "promote a/1 e7 empty", "", ErrRefused, 0},
		{"promote empty where the last copy was wiped, assigned to no node", "7 born 5 wiped a", "promote a/1 e7 empty", "", ErrRefused, 0},

		{"an unclean promotion", "7 born 5 isr a unclean a assigned a lossy", "promote a/1 e7 unclean by a/1", "8 leader 8 born 5 primary a isr a assigned a unsealed", nil, 1},
		{"an unclean promotion after a primary that has stopped", "7 born 5 isr a unclean a relinquished", "promote a/1 e7 unclean by a/1", "8 leader 8 born 5 primary a isr a", nil, 0},
		{"an unclean promotion of a learner", "7 born 5 isr a unclean a learners b,c assigned a,b", "promote b/1 e7 unclean by a/1,b/1", "8 leader 8 born 5 primary b isr b learners c,a assigned a,b unsealed", nil, 1},
		{"an unclean promotion beside a clean member", "7 born 5 isr a,b unclean a", "promote a/1 e7 unclean by a/1", "", ErrRefused, 0},
		{"an unclean promotion without a copy", "7 born 5", "promote a/1 e7 unclean by a/1", "", ErrRefused, 0},
		{"an unclean promotion of an earlier process", "7 born 5 isr a unclean a", "promote a/0 e7 unclean by a/0", "", ErrStale, 0},
		{"an unclean promotion beside a primary", "7 born 5 primary a isr a", "promote b/1 e7 unclean", "", ErrRefused, 0},
		{"a takeover", "7 born 5 primary a isr a learners b assigned a,b", "promote b/1 e7 unclean takeover", "8 leader 8 born 5 primary b isr b learners a assigned a,b unsealed", nil, 1},
		{"a takeover by the primary", "7 born 5 primary a isr a,b", "promote a/1 e7 unclean takeover", "", ErrStale, 0},
		{"a takeover of a shard without a copy", "7 born 5", "promote a/1 e7 unclean takeover", "", ErrRefused, 0},

		{"begin empty", "7 born 5 wiped a assigned a", "begin-empty e7", "7 leader 0 born 5 assigned a", nil, 1},
		{"begin empty in an earlier epoch", "7 born 5 wiped a", "begin-empty e6", "", ErrStale, 0},
		{"begin empty a shard that may start already", "7 born 5", "begin-empty e7", "", ErrStale, 0},
		{"begin empty a shard with a copy", "7 born 5 isr a", "begin-empty e7", "", ErrRefused, 0},

		{"resign with another copy", "7 born 5 primary a isr a,b assigned a,b", "resign a e7", "8 leader 7 born 5 isr b learners a assigned a,b relinquished", nil, 0},
		{"resign with the last copy", "7 born 5 primary a isr a", "resign a e7", "8 leader 7 born 5 isr a relinquished", nil, 0},
		{"resign with the last clean copy", "7 born 5 primary a isr a,b unclean b", "resign a e7", "8 leader 7 born 5 isr a,b unclean b relinquished", nil, 0},
		{"resign for another", "7 born 5 primary a isr a,b", "resign b e7", "", ErrRefused, 0},
		{"resign without a primary", "7 born 5 isr a", "resign e7", "", ErrRefused, 0},

		{"shrink", "7 leader 6 born 5 primary a isr a,b,c", "shrink-isr b e7", "8 leader 6 born 5 primary a isr a,c", nil, 0},
		{"shrink by an unclean member", "7 born 5 primary a isr a,b unclean b assigned a,b lossy", "shrink-isr b e7", "8 leader 7 born 5 primary a isr a learners b assigned a,b", nil, 0},
		{"shrink by the primary", "7 born 5 primary a isr a,b", "shrink-isr a e7", "", ErrRefused, 0},
		{"shrink by a node outside the ISR", "7 born 5 primary a isr a learners b", "shrink-isr b e7", "", ErrRefused, 0},
		{"shrink without a primary", "7 born 5 isr a,b", "shrink-isr a e7", "", ErrRefused, 0},
		{"shrink to nothing", "7 born 5 isr a", "shrink-isr a e7", "", ErrRefused, 0},

		{"add a learner, in the same epoch", "7 born 5 primary a isr a", "add-learner b/1 e7", "7 leader 7 born 5 primary a isr a learners b", nil, 0},
		{"add a learner again", "7 born 5 primary a isr a learners b", "add-learner b/1 e7", "7 leader 7 born 5 primary a isr a learners b", nil, 0},
		{"add a node of the ISR as a learner", "7 born 5 primary a isr a,b", "add-learner b/1 e7", "", ErrRefused, 0},
		{"add an earlier process as a learner", "7 born 5 primary a isr a", "add-learner b/0 e7", "", ErrStale, 0},
		{"drop a learner, in another epoch", "7 leader 6 born 5 primary a isr a learners b,c", "drop-learner b e7", "8 leader 6 born 5 primary a isr a learners c", nil, 0},
		{"drop a node that is not a learner", "7 born 5 primary a isr a,b", "drop-learner b e7", "", ErrRefused, 0},
		{"drop a learner in an earlier epoch", "7 born 5 primary a isr a learners b", "drop-learner b e6", "", ErrStale, 0},

		{"expand", "7 leader 6 born 5 primary a isr a learners b,c", "expand-isr b/1 e7", "8 leader 6 born 5 primary a isr a,b learners c", nil, 0},
		{"expand, the row is sealed by that", "7 born 5 primary a isr a learners b unsealed", "expand-isr b/1 e7", "8 leader 7 born 5 primary a isr a,b", nil, 0},
		{"expand by an unclean member", "7 born 5 primary a isr a,b,c unclean b,c lossy", "expand-isr b/1 e7", "8 leader 7 born 5 primary a isr a,b,c unclean c lossy", nil, 0},
		{"expand by the last unclean member", "7 born 5 primary a isr a,b unclean b lossy", "expand-isr b/1 e7", "8 leader 7 born 5 primary a isr a,b", nil, 0},
		{"expand by a clean member", "7 born 5 primary a isr a,b", "expand-isr b/1 e7", "", ErrRefused, 0},
		{"expand by a node that is not a learner", "7 born 5 primary a isr a learners c", "expand-isr b/1 e7", "", ErrRefused, 0},
		{"expand without a primary", "7 born 5 isr a learners b", "expand-isr b/1 e7", "", ErrRefused, 0},
		{"expand by another incarnation", "7 born 5 primary a isr a learners b", "expand-isr b/2 e7", "", ErrStale, 0},

		{"transfer", "7 leader 6 born 5 primary a isr a,b learners c unsealed", "transfer-primary b/1 e7", "8 leader 8 born 5 primary b isr a,b learners c", nil, 0},
		{"transfer to an unclean member", "7 born 5 primary a isr a,b unclean b", "transfer-primary b/1 e7", "", ErrRefused, 0},
		{"transfer to a node outside the ISR", "7 born 5 primary a isr a learners b", "transfer-primary b/1 e7", "", ErrRefused, 0},
		{"transfer to itself", "7 born 5 primary a isr a,b", "transfer-primary a/1 e7 empty", "", ErrStale, 0},
		{"transfer without a primary", "7 born 5 isr a,b", "transfer-primary b/1 e7", "", ErrRefused, 0},
		{"transfer without a primary, empty", "7 born 5", "transfer-primary b/1 e7 empty", "", ErrRefused, 0},
		{"transfer empty", "7 born 5 primary a isr a learners b,c unsealed", "transfer-primary b/1 e7 empty", "8 leader 8 born 8 primary b isr b", nil, 0},
		{"transfer empty beside another copy", "7 born 5 primary a isr a,b", "transfer-primary c/1 e7 empty", "", ErrRefused, 0},
		{"transfer to an earlier process", "7 born 5 primary a isr a,b", "transfer-primary b/0 e7", "", ErrStale, 0},

		{"damage", "7 born 5 primary a isr a,b", "mark-unclean b/1", "8 leader 7 born 5 primary a isr a,b unclean b lossy", nil, 0},
		{"damage of an unclean copy", "7 born 5 isr a,b unclean b", "mark-unclean b/1 e3", "8 leader 0 born 5 isr a,b unclean b lossy", nil, 0},
		{"damage that is known", "7 born 5 isr a,b unclean b lossy", "mark-unclean b/1 e7", "7 leader 0 born 5 isr a,b unclean b lossy", nil, 0},
		{"damage of the primary", "7 born 5 primary a isr a,b", "mark-unclean a/1 e7", "", ErrRefused, 0},
		{"damage outside the ISR", "7 born 5 primary a isr a learners b", "mark-unclean b/1 e7", "", ErrRefused, 0},
		{"damage of an earlier process", "7 born 5 primary a isr a,b", "mark-unclean b/0 e7", "", ErrStale, 0},

		{"assign, in the same epoch", "7 born 5 primary a isr a", "assign e7 to c,b", "7 leader 7 born 5 primary a isr a assigned c,b", nil, 0},
		{"assign to a non-member", "7 born 5 primary a isr a", "assign e7 to c,z", "", ErrUnknownNode, 0},
		{"assign with a duplicate", "7 born 5 primary a isr a", "assign e7 to c,c", "", ErrRefused, 0},
		{"assign in an earlier epoch", "7 born 5 primary a isr a", "assign e6 to c", "", ErrStale, 0},
		{"a missing shard", "7 born 5 primary a isr a", "resign a e7 shard 16", "", ErrUnknownShard, 0},
		{"a negative shard", "7 born 5 primary a isr a", "resign a e7 shard -1", "", ErrUnknownShard, 0},
		{"an unknown kind of op", "7 born 5 primary a isr a", "dance a e7", "", ErrRefused, 0},

		{"a restart of the primary", "7 leader 6 born 5 primary a isr a,b learners c", "node-join a/2 starts 1 lock", "8 leader 6 born 5 isr a,b learners c relinquished", nil, 0},
		{"a restart of the primary behind another lock", "7 born 5 primary a isr a,b", "node-join a/2 starts 1", "8 leader 7 born 5 isr a,b", nil, 0},
		{"a second restart of the primary, the first was not decided", "7 born 5 primary a isr a,b", "node-join a/3 starts 1,2 lock", "8 leader 7 born 5 isr a,b", nil, 0},
		{"a second restart of a primary that is alone", "7 born 5 primary a isr a", "node-join a/3 starts 1,2 lock", "8 leader 7 born 5 isr a relinquished", nil, 0},
		{"a restart of the primary of an unsealed row", "7 leader 6 born 5 primary a isr a unsealed", "node-join a/2 starts 1 lock", "8 leader 6 born 5 isr a unsealed", nil, 0},
		{"a restart of a primary that is alone, after another process with its id", "7 born 5 primary a isr a", "node-join a/2 starts 0 lock", "8 leader 7 born 5 isr a unclean a lossy", nil, 0},
		{"a restart of a member", "7 leader 6 born 5 primary b isr a,b", "node-join a/2 starts 1 lock", "8 leader 6 born 5 primary b isr a,b", nil, 0},
		{"a restart of a learner", "7 leader 6 born 5 primary b isr b learners a", "node-join a/2 starts 1", "8 leader 6 born 5 primary b isr b learners a", nil, 0},
		{"a restart of a node without a copy", "7 leader 6 born 5 primary b isr b assigned a", "node-join a/2 starts 1 lock", "7 leader 6 born 5 primary b isr b assigned a", nil, 0},
		{"a restart keeps what is known of the last primary", "7 born 5 isr a relinquished", "node-join a/2 starts 1", "8 leader 0 born 5 isr a relinquished", nil, 0},
		{"an unclean start", "7 born 5 primary a isr a,b", "node-join a/2 starts 1 lock unclean", "8 leader 7 born 5 isr a,b unclean a lossy relinquished", nil, 0},
		{"an unclean start of a learner", "7 born 5 primary b isr b learners a", "node-join a/2 starts 1 unclean", "8 leader 7 born 5 primary b isr b learners a", nil, 0},
		{"a clean start after an unclean one", "7 born 5 primary b isr a,b unclean a", "node-join a/2 starts 1 lock", "8 leader 7 born 5 primary b isr a,b unclean a", nil, 0},
		{"a start with a folder of earlier", "7 born 5 primary a isr a,b", "node-join a/2 starts 0 lock", "8 leader 7 born 5 isr a,b unclean a lossy", nil, 0},
		{"a second start with a folder of earlier", "7 born 5 primary a isr a", "node-join a/3 starts 0,2 lock", "8 leader 7 born 5 isr a unclean a lossy", nil, 0},
		{"a second start with a copied folder", "7 born 5 primary a isr a", "node-join a/3 starts 1,2 lock unclean lossy", "8 leader 7 born 5 isr a unclean a lossy", nil, 0},
		{"a start with an empty folder", "7 born 5 primary a isr a,b assigned a,b", "node-join a/2 store X lock starts 1", "8 leader 7 born 5 isr b assigned a,b", nil, 0},
		{"a start of a learner with an empty folder", "7 born 5 primary b isr b learners a", "node-join a/2 store X", "8 leader 7 born 5 primary b isr b", nil, 0},
		{"a start of an unclean member with an empty folder", "7 born 5 isr a,b unclean a lossy", "node-join a/2 store X", "8 leader 0 born 5 isr b", nil, 0},
		{"a start of the last copy with an empty folder", "7 born 5 primary a isr a assigned a", "node-join a/2 store X", "8 leader 7 born 5 assigned a wiped a", nil, 0},
		{"a start with a new store id", "7 born 5 primary a isr a,b", "node-join a/2 store X stores Y,A starts 1 lock", "8 leader 7 born 5 isr a,b", nil, 0},
		{"a second start after a wipe", "7 born 5 assigned a wiped a", "node-join a/2 starts 1 lock", "7 leader 0 born 5 assigned a wiped a", nil, 0},

		{"the primary leaves", "7 leader 6 born 5 primary a isr a,b", "node-leave a", "8 leader 6 born 5 primary a isr a,b", nil, 0},
		{"a learner leaves", "7 leader 6 born 5 primary b isr b learners a", "node-leave a", "8 leader 6 born 5 primary b isr b learners a", nil, 0},
		{"a node without a copy leaves", "7 leader 6 born 5 primary b isr b assigned a", "node-leave a", "7 leader 6 born 5 primary b isr b assigned a", nil, 0},
		{"the primary is forgotten", "7 born 5 primary a isr a,b assigned a,b", "node-forget a", "8 leader 7 born 5 isr b assigned b", nil, 0},
		{"a learner is forgotten", "7 born 5 primary b isr b learners a", "node-forget a", "8 leader 7 born 5 primary b isr b", nil, 0},
		{"an unclean member is forgotten", "7 born 5 primary b isr a,b unclean a lossy", "node-forget a", "8 leader 7 born 5 primary b isr b", nil, 0},
		{"an assigned node is forgotten", "7 born 5 primary b isr b assigned b,a", "node-forget a", "7 leader 7 born 5 primary b isr b assigned b", nil, 0},
		{"the last copy is forgotten", "7 born 5 primary a isr a assigned b", "node-forget a", "8 leader 7 born 5 assigned b", nil, 1},
		{"the node of a wiped copy is forgotten", "7 born 5 assigned a,b wiped a", "node-forget a", "7 leader 0 born 5 assigned b", nil, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			topo := made(t, parseRow(t, tc.was))
			was := topo.Shards[0]
			is, errs := topo.Apply(2, Command{[]Op{parseOp(t, tc.op)}})
			if err := errors.Join(is.Check(), CheckStep(topo, is)); err != nil {
				t.Fatal(err)
			}
			if is.Index != 2 || topo.Index != 1 || !reflect.DeepEqual(topo.Shards[0], was) {
				t.Fatalf("index %d; the topology before is at %d, %+v", is.Index, topo.Index, topo.Shards[0])
			}
			if tc.err != nil {
				if !errors.Is(errs[0], tc.err) || !reflect.DeepEqual(is.Shards, topo.Shards) || is.PossibleLosses != 0 {
					t.Fatalf("error %v, want %v; row %s", errs[0], tc.err, rowText(is.Shards[0]))
				}
				return
			}
			if got := rowText(is.Shards[0]); errs[0] != nil || got != tc.want || is.PossibleLosses != tc.losses {
				t.Fatalf("error %v, %d losses, row %s\nwant %d losses, row %s", errs[0], is.PossibleLosses, got, tc.losses, tc.want)
			}
		})
	}
}

// An unclean promotion loses nothing that was acknowledged if the members of the ISR synced what they acknowledged,
// and only lost power. What counts is how the process ran that acknowledged, not how the new one runs.
func TestWhatCountsAsAPossibleLoss(t *testing.T) {
	for _, tc := range []struct {
		row    string
		always string // nodes that sync
		ops    string
		losses uint64
	}{
		{"7 isr a", "a", "node-join a/2 starts 1 unclean; promote a/2 e8 unclean", 0},
		{"7 isr a", "b", "node-join a/2 starts 1 unclean; promote a/2 e8 unclean", 1},
		{"7 isr a", "a", "node-join a/2 starts 0; promote a/2 e8 unclean", 1},
		{"7 isr a", "a", "mark-unclean a/1; promote a/1 e8 unclean", 1},
		{"7 isr a", "a", "mark-unclean a/1; node-join a/2 starts 1 unclean; promote a/2 e9 unclean", 1},
		{"7 isr a,b", "a,b", "node-join a/2 starts 1 unclean; node-join b/2 starts 1 unclean; promote a/2 e9 unclean", 0},
		{"7 isr a,b", "a", "node-join a/2 starts 1 unclean; node-join b/2 starts 1 unclean; promote a/2 e9 unclean", 1},
		{"7 isr a learners b", "a,b", "node-join a/2 starts 1 unclean; promote b/1 e8 unclean", 1},
		{"7 primary a isr a,b", "a,b", "promote b/1 e7 unclean takeover", 1},
	} {
		topo := made(t, parseRow(t, tc.row))
		for i := range topo.Nodes {
			topo.Nodes[i].Always = slices.Contains(ids(tc.always), topo.Nodes[i].ID)
		}
		var c Command
		for _, op := range strings.Split(tc.ops, "; ") {
			c.Ops = append(c.Ops, parseOp(t, op))
		}
		is, errs := topo.Apply(2, c)
		if err := errors.Join(errors.Join(errs...), is.Check(), CheckStep(topo, is)); err != nil || is.PossibleLosses != tc.losses || is.Shards[0].Primary == "" {
			t.Errorf("%s, %s sync: %s counts %d losses, want %d; %v", tc.row, tc.always, tc.ops, is.PossibleLosses, tc.losses, err)
		}
	}
}

// Without a log every restart wipes a copy: then a wiped shard starts empty at once, and no loss is counted.
func TestAShardWithoutALogStartsEmptyAtOnce(t *testing.T) {
	for _, tc := range []struct {
		logs string
		want error
	}{{"", nil}, {"c", nil}, {"b", ErrRefused}, {"a,b", ErrRefused}} {
		topo := made(t, parseRow(t, "7 wiped a assigned a,b"))
		for i := range topo.Nodes {
			topo.Nodes[i].Log = slices.Contains(ids(tc.logs), topo.Nodes[i].ID)
		}
		is, errs := topo.Apply(2, Command{[]Op{parseOp(t, "promote b/1 e7 empty")}})
		if !errors.Is(errs[0], tc.want) || is.PossibleLosses != 0 {
			t.Errorf("logs on %q: %v, %d losses", tc.logs, errs[0], is.PossibleLosses)
		}
	}
}

func TestTransferNeverGoesToWhoIsLeaving(t *testing.T) {
	topo := made(t, Shard{Epoch: 7, Primary: "a", ISR: ids("a,b")})
	_, errs := topo.Apply(2, Command{[]Op{{Kind: NodeLeave, Node: "b"}, {Kind: TransferPrimary, Epoch: 8, Node: "b", Incarnation: 1}, {Kind: TransferPrimary, Epoch: 8, Node: "b", Incarnation: 1, Empty: true}}})
	if errs[0] != nil || !errors.Is(errs[1], ErrRefused) || !errors.Is(errs[2], ErrRefused) {
		t.Fatal(errs)
	}
}

func TestOpsOnTheCluster(t *testing.T) {
	good := Op{Kind: Create, Cluster: "c", Shards: 16, Replicas: 1, Epoch: 1, Nodes: []Node{{ID: "a"}}}
	with := func(change func(*Op)) Op { op := good; change(&op); return op }
	topo := made(t, Shard{})
	holding, _ := made(t, Shard{Epoch: 7, ISR: ids("a")}).Apply(1, Command{[]Op{{Kind: NodeLeave, Node: "a"}, {Kind: NodeLeave, Node: "b"}}})
	wiped, _ := made(t, Shard{Epoch: 7, Wiped: ids("a")}).Apply(1, Command{[]Op{{Kind: NodeLeave, Node: "a"}}})
	gone, _ := topo.Apply(1, Command{[]Op{{Kind: NodeForget, Node: "b"}}})
	for _, tc := range []struct {
		name string
		on   *Topology
		op   Op
		err  error
	}{
		{"create", nil, good, nil},
		{"create again", topo, good, ErrExists},
		{"create without an id", nil, with(func(o *Op) { o.Cluster = "" }), ErrRefused},
		{"create without nodes", nil, with(func(o *Op) { o.Nodes = nil }), ErrRefused},
		{"create with a node twice", nil, with(func(o *Op) { o.Nodes = []Node{{ID: "a"}, {ID: "b"}, {ID: "a"}} }), ErrRefused},
		{"create with a node without an id", nil, with(func(o *Op) { o.Nodes = []Node{{}} }), ErrRefused},
		{"create in epoch 0", nil, with(func(o *Op) { o.Epoch = 0 }), ErrRefused},
		{"create in an epoch near overflow", nil, with(func(o *Op) { o.Epoch = 1 << 63 }), ErrRefused},
		{"create with 17 shards", nil, with(func(o *Op) { o.Shards = 17 }), ErrRefused},
		{"create for the folder of a non-member", nil, with(func(o *Op) { o.Node = "b" }), ErrUnknownNode},
		{"join before the cluster exists", nil, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a"}}}, ErrNoCluster},
		{"a new node", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "aa"}}}, nil},
		{"a restart", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 2, Store: "A"}}}, nil},
		{"an earlier incarnation", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 0, Store: "A"}}}, ErrStale},
		{"the same incarnation again", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 1, Store: "A"}}}, nil},
		{"another folder without a restart", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 1, Store: "B"}}}, ErrRefused},
		{"two nodes at once", topo, Op{Kind: NodeJoin, Nodes: []Node{{ID: "x"}, {ID: "y"}}}, ErrRefused},
		{"a node without an id", topo, Op{Kind: NodeJoin, Nodes: []Node{{}}}, ErrRefused},
		{"a non-member leaves", topo, Op{Kind: NodeLeave, Node: "z"}, ErrUnknownNode},
		{"a non-member is forgotten", topo, Op{Kind: NodeForget, Node: "z"}, ErrUnknownNode},
		{"a late join of a forgotten node", gone, Op{Kind: NodeJoin, Nodes: []Node{{ID: "b", Incarnation: 1, Store: "B"}}}, ErrStale},
		{"a restart of a forgotten node", gone, Op{Kind: NodeJoin, Nodes: []Node{{ID: "b", Incarnation: 2, Store: "B"}}}, nil},
		{"an earlier incarnation is forgotten", topo, Op{Kind: NodeForget, Node: "a", Incarnation: 7}, ErrStale},
		{"a node that is not leaving is forgotten as empty", topo, Op{Kind: NodeForget, Node: "a", Incarnation: 1, Empty: true}, ErrStale},
		{"a leaving node with a copy is forgotten as empty", holding, Op{Kind: NodeForget, Node: "a", Incarnation: 1, Empty: true}, ErrStale},
		{"a leaving node without a copy is forgotten as empty", holding, Op{Kind: NodeForget, Node: "b", Incarnation: 1, Empty: true}, nil},
		{"a leaving node whose last copy was wiped is forgotten as empty", wiped, Op{Kind: NodeForget, Node: "a", Incarnation: 1, Empty: true}, ErrStale},
		{"a setting", topo, Op{Kind: ConfigSet, Name: "x", Value: "y"}, nil},
		{"a setting without a name", topo, Op{Kind: ConfigSet}, ErrRefused},
		{"a setting before the cluster exists", nil, Op{Kind: ConfigSet, Name: "x", Value: "y"}, ErrNoCluster},
		{"a setting is reset", topo, Op{Kind: ConfigReset, Name: "x"}, nil},
		{"a setting without a name is reset", topo, Op{Kind: ConfigReset}, ErrRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is, errs := tc.on.Apply(2, Command{[]Op{tc.op}})
			if !errors.Is(errs[0], tc.err) || is.Index != 2 {
				t.Fatalf("error %v, want %v; index %d", errs[0], tc.err, is.Index)
			}
			if err := is.Check(); err != nil {
				t.Fatal(err)
			}
		})
	}
	one, _ := (*Topology)(nil).Apply(1, Command{[]Op{good}})
	if _, errs := one.Apply(2, Command{[]Op{{Kind: NodeForget, Node: "a"}}}); !errors.Is(errs[0], ErrRefused) {
		t.Errorf("forgetting the last node: %v", errs[0])
	}
}

// A data folder with a new store id keeps its copies if the join names the old id; otherwise it is another folder and has none.
func TestANewStoreKeepsItsCopiesByItsOldName(t *testing.T) {
	for _, row := range []Shard{
		{Epoch: 9, EmptySince: 7, Primary: "a", ISR: ids("a,b"), Learners: ids("c")},
		{Epoch: 9, EmptySince: 7, Primary: "b", ISR: ids("a,b")},
		{Epoch: 9, EmptySince: 7, ISR: ids("a")},
	} {
		for _, tc := range []struct {
			stores []string
			keeps  bool
		}{{nil, false}, {[]string{"B"}, false}, {[]string{"A"}, true}, {[]string{"B", "A"}, true}} {
			topo := made(t, row)
			is, errs := topo.Apply(2, Command{[]Op{{Kind: NodeJoin, Nodes: []Node{{ID: "a", Incarnation: 2, Store: "X"}}, Stores: tc.stores}}})
			if err := errors.Join(errs[0], is.Check(), CheckStep(topo, is)); err != nil {
				t.Fatalf("%+v by %v: %v", row, tc.stores, err)
			}
			got := is.Shards[0]
			if slices.Contains(got.ISR, "a") != tc.keeps || slices.Contains(got.Wiped, "a") == (tc.keeps || len(row.ISR) > 1) || got.Primary == "a" || got.Epoch <= 9 || got.EmptySince != 7 || !reflect.DeepEqual(got.Learners, row.Learners) {
				t.Errorf("%+v by %v has become %+v", row, tc.stores, got)
			}
		}
	}
}

func TestApplySharesWhatDoesNotChange(t *testing.T) {
	topo := made(t, Shard{})
	is, _ := topo.Apply(2, Command{[]Op{{Kind: ConfigSet, Name: "x", Value: "y"}, {Kind: Promote, Epoch: 1, Node: "a", Incarnation: 1}}})
	if &is.Shards[0] != &topo.Shards[0] || &is.Nodes[0] != &topo.Nodes[0] || len(topo.Settings) > 0 || is.Settings["x"] != "y" {
		t.Error("a setting copies rows or nodes, or changes the topology before")
	}
	if Diff(topo, is) != nil || len(DiffNodes(topo, is)) > 0 {
		t.Error("Diff finds what did not change")
	}
	reset, _ := is.Apply(3, Command{[]Op{{Kind: ConfigReset, Name: "x"}}})
	if is.Settings["x"] != "y" || is.SetAt["x"] != 2 || len(reset.Settings) > 0 || reset.SetAt["x"] != 3 {
		t.Errorf("after a setting was reset: %v of %v; before: %v of %v", reset.Settings, reset.SetAt, is.Settings, is.SetAt)
	}
}

func TestDiff(t *testing.T) {
	topo := made(t, Shard{})
	if got := Diff(nil, topo); len(got) != 16 || got[3].Shard != 3 || got[3].Is.Epoch != 5 || len(DiffNodes(nil, topo)) != 3 {
		t.Errorf("from nothing: %v", got)
	}
	is, _ := topo.Apply(2, Command{[]Op{{Kind: Promote, Shard: 9, Epoch: 5, Node: "a", Incarnation: 1, Empty: true}, {Kind: NodeForget, Node: "b"}, {Kind: NodeJoin, Nodes: []Node{{ID: "d"}}}, {Kind: NodeLeave, Node: "c"}}})
	if got := Diff(topo, is); len(got) != 1 || got[0].Shard != 9 || got[0].Was.Epoch != 5 || got[0].Is.Primary != "a" {
		t.Errorf("Diff = %+v", got)
	}
	var got []string
	for _, c := range DiffNodes(topo, is) {
		got = append(got, fmt.Sprintf("%s>%s%s", c.Was.ID, c.Is.ID, c.Is.State))
	}
	if want := []string{"b>", "c>cleaving", ">d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("DiffNodes = %v, want %v", got, want)
	}
}

// Every command of a client does these lookups.
func TestNodeIsFoundWithoutAllocating(t *testing.T) {
	nodes := someNodes(1, 100, 0)
	sorted := &Topology{Nodes: append([]Node(nil), nodes...)}
	sortNodes(sorted.Nodes)
	for _, topo := range []*Topology{sorted, {Nodes: nodes}} {
		for _, n := range nodes {
			if got, ok := topo.Node(n.ID); !ok || got.ID != n.ID {
				t.Fatalf("Node(%s) = %v, %v", n.ID, got, ok)
			}
		}
		if _, ok := topo.Node("zz"); ok {
			t.Fatal("a stranger is found")
		}
	}
	id := nodes[rand.IntN(100)].ID
	if n := testing.AllocsPerRun(100, func() { sorted.Node(id) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
