package ndctl

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
	"github.com/ndring/ndring/internal/slowtest"
)

// An operator drains a node, moves a shard, and gives the node its share again.
func TestMovesOfAnOperator(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	if r := runWith(t, c.env(), npyOf(3), "put", "k", "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	c.eventually("all copies are in sync", func() string { return c.run(c.env(), "moves").out }, func(got string) bool { return got == "no copy is on its way\n" })
	if r := c.run(c.env(), "rebalance"); r.code != 0 || !matches(r.out, "NODE", "COPIES", "nothing moves\n") {
		t.Errorf("rebalance: %+v", r)
	}
	plan := c.run(c.env(), "drain", "n2", "--plan")
	if plan.code != 0 || !matches(plan.out, "n2", " -> 0 ", "to make", "another preferred primary\n") {
		t.Errorf("drain --plan: %+v", plan)
	}
	if r := c.run(c.env(), "drain", "n2"); r.code != 2 || !matches(r.err, "Drain n2?", "--yes") {
		t.Errorf("drain without a terminal: %+v", r)
	}
	if r := c.run(c.env(), "drain", "n2", "--yes", "--wait"); r.code != 0 || !matches(r.out, "done: each copy is where it should be\n") {
		t.Fatalf("drain: %+v", r)
	}
	var nodes []nodeReport
	if r := c.run(c.env(), "nodes", "--json"); json.Unmarshal([]byte(r.out), &nodes) != nil || nodes[1].State != "draining" || nodes[1].Shards+nodes[1].Replicas > 0 {
		t.Errorf("nodes: %+v", r)
	}
	for args, want := range map[string]string{
		"move 3 --to n2 --yes":           "is draining",
		"move 99 --to n1 --yes":          "no such shard",
		"move 3 --to nobody --yes":       "unknown node",
		"move 3 --to n1 --from n2 --yes": "is not assigned to",
		"replace n1 --with n1 --yes":     "cannot replace itself",
		"replace n1 --with n2 --yes":     "is draining",
		"drain nobody --yes":             "unknown node",
		"undrain n1":                     "neither drained nor leaving",
		"moves cancel 99":                "no such shard",
	} {
		if r := c.run(c.env(), strings.Fields(args)...); r.code != 1 || !matches(r.err, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	for args, want := range map[string]string{"move x --to n1": "not the number of a shard", "move 3": "--to is missing", "replace n1": "--with is missing", "moves cancel x": "not the number of a shard"} {
		if r := c.run(c.env(), strings.Fields(args)...); r.code != 2 || !matches(r.err, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := c.run(c.env(), "undrain", "n2"); r.code != 0 || !matches(r.out, "n2 stays") {
		t.Errorf("undrain: %+v", r)
	}
	c.eventually("n2 has its share again", func() string { return c.run(c.env(), "nodes", "--json").out }, func(got string) bool {
		var nodes []nodeReport
		return json.Unmarshal([]byte(got), &nodes) == nil && nodes[1].State == "up" && nodes[1].Shards+nodes[1].Replicas >= 10 && nodes[1].Behind == 0
	})
	for command, want := range map[string]string{"pause": "paused", "resume": "copies move again"} {
		if r := c.run(c.env(), "moves", command); r.code != 0 || !matches(r.out, want) {
			t.Errorf("moves %s: %+v", command, r)
		}
	}
	if r := c.run(c.env(), "moves", "cancel"); r.code != 0 || r.out != "cancelled: 0 shards stay where they are\n" {
		t.Errorf("moves cancel: %+v", r)
	}
}

// While moves are paused, a placement changes and nothing moves; cancel takes it back.
func TestPausedMoves(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	c := startCluster(t, 3)
	c.eventually("all copies are in sync", func() string { return c.run(c.env(), "moves").out }, func(got string) bool { return got == "no copy is on its way\n" })
	c.run(c.env(), "moves", "pause")
	var shards []shardReport
	if r := c.run(c.env(), "shards", "--json"); json.Unmarshal([]byte(r.out), &shards) != nil {
		t.Fatal(r)
	}
	to := ""
	for _, name := range []string{"n1", "n2", "n3"} {
		if name != shards[5].Assigned[0] && name != shards[5].Assigned[1] {
			to = name
		}
	}
	if r := c.run(c.env(), "move", "5", "--to", to, "--yes", "--wait"); r.code != 1 || !matches(r.err, "moves are paused") {
		t.Errorf("move --wait: %+v", r)
	}
	if r := c.run(c.env(), "moves"); !matches(r.out, "paused", "waiting", "moves are paused", "1 waiting") {
		t.Errorf("moves: %+v", r)
	}
	if r := c.run(c.env(), "moves", "cancel", "5"); r.code != 0 || r.out != "cancelled: 1 shard stays where it is\n" {
		t.Errorf("cancel: %+v", r)
	}
	if r := c.run(c.env(), "moves"); !matches(r.out, "paused", "no copy is on its way") {
		t.Errorf("moves: %+v", r)
	}
}

// What progress says of moves that begin late, vanish, grow, or have no known size.
func TestProgress(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000_000, 0)
	p := newProgress()
	look := func(seconds int, moves ...view.Move) {
		p.look(at.Add(time.Duration(seconds)*time.Second), &view.Moves{Moves: moves})
	}
	move := func(shard int, bytes, done int64) view.Move {
		return view.Move{Shard: shard, To: topology.NodeID("aa"), Bytes: bytes, Done: done}
	}
	check := func(when, want string) {
		t.Helper()
		if got := p.String(); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	look(0, move(1, 100<<20, 0), move(2, -1, 0))
	check("at first", "[------------------------] 0 of 2 copies, 0 B of 100.0 MiB, 0 B/s, time left unknown")
	look(10, move(1, 100<<20, 50<<20), move(2, -1, 0))
	check("half of one", "[############------------] 0 of 2 copies, 50.0 MiB of 100.0 MiB, 5.0 MiB/s, 10s left")
	look(20, move(2, 20<<20, 10<<20), move(3, 0, 0))
	if ended, all := p.ended(); ended != 1 || all != 3 || p.bytesDone() != 110<<20 || p.bytes() != 120<<20 {
		t.Errorf("one has ended, one has a size now, and one has come: %s", p)
	}
	look(30)
	check("all have ended", "[########################] 3 of 3 copies, 120.0 MiB of 120.0 MiB, "+bytesText(int64(p.rate))+"/s, 0s left")
	look(30) // twice at one time
	if d, ok := p.left(); !ok || d != 0 {
		t.Errorf("%v is left", d)
	}
}

// A node of an earlier version does not know these commands.
func TestMovesOfAnEarlierNode(t *testing.T) {
	t.Parallel()
	addr := fakeServer(t, func(args []string) any {
		if len(args) > 1 && strings.EqualFold(args[1], "TOPOLOGY") {
			return `{"cluster":"c1","self":"aa","quorum":true,"nodes":[{"id":"aa","name":"n1","host":"127.0.0.1","port":1,"up":true}],"shards":[{"primary":"aa"}]}`
		}
		return errText("ERR unknown subcommand 'moves'. Try CLUSTER HELP.")
	})
	for _, args := range []string{"moves", "rebalance"} {
		if r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", args); r.code != 1 || !matches(r.err, "earlier version", "upgrade it") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
