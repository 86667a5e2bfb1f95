package ndctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// top --shards compares two answers of each node.
func TestHotShards(t *testing.T) {
	t.Parallel()
	node := &movingNode{}
	asked := int64(0)
	env := map[string]string{"NDRING_ADDR": fakeServer(t, func(args []string) any {
		if args[1] != "LOAD" {
			return node.answer(args)
		}
		asked++
		load := topology.Load{Incarnation: 1}
		for shard := range int64(4) {
			load.Shards = append(load.Shards, topology.ShardLoad{Shard: topology.ShardID(shard), Keys: shard + 1, Bytes: 1024 * (shard + 1), Reads: 5 + asked*1000*shard, Writes: 7 + asked*1000*shard})
		}
		return encoded(load)
	})}
	r := runWith(t, env, "", "top", "--shards", "-n", "3", "-i", "50ms")
	lines := strings.Split(r.out, "\n")
	if r.code != exitFailure || len(lines) != 5 || !matches(blanks.ReplaceAllString(lines[1], " "), " 3 12288-16383 n2 ", " - - 50.0 %") || !matches(blanks.ReplaceAllString(lines[2], " "), " 2 8192-12287 n2 ", "33.3 %") ||
		!matches(blanks.ReplaceAllString(lines[3], " "), " 1 4096-8191 n1 ", " 2 2.0 KiB 16.7 %") || !matches(r.err, "ndctl: n2: it has no address") {
		t.Errorf("%+v", r)
	}
	for args, want := range map[string]string{"top --shards -n 0": "--count must be at least 1", "top -n 3": "--count needs --shards"} {
		if r := runWith(t, env, "", strings.Fields(args)...); r.code != exitUsage || !matches(r.err, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	earlier := &movingNode{earlier: true}
	if r := runWith(t, earlier.env(t), "", "top", "--shards", "-i", "1ms"); r.code != exitFailure || r.out != "" || !matches(r.err, "the node runs an earlier version of ndring") {
		t.Errorf("%+v", r)
	}
	denied := &movingNode{refusal: "NOPERM this user has no permissions"}
	if r := runWith(t, denied.env(t), "", "top", "--shards", "-i", "1ms"); r.code != exitRights || r.out != "" {
		t.Errorf("%+v", r)
	}
	var reports hotShardReports
	r = runWith(t, env, "", "top", "--shards", "--json", "-i", "50ms")
	if err := json.Unmarshal([]byte(r.out), &reports); err != nil || len(reports) != 4 || reports[0].Shard != 3 || reports[0].Reads <= 0 || reports[0].Reads > 3000/0.05 || reports[3].Reads != 0 || *reports[3].Keys != 1 || reports[0].Keys != nil {
		t.Errorf("%v %+v", err, r)
	}
}

func TestRatesOfShards(t *testing.T) {
	t.Parallel()
	load := func(incarnation uint64, shards ...topology.ShardLoad) *nodeLoad {
		l := &nodeLoad{incarnation: incarnation, shards: map[int]topology.ShardLoad{}}
		for _, s := range shards {
			l.shards[int(s.Shard)] = s
		}
		return l
	}
	a := load(1, topology.ShardLoad{Reads: 100, Writes: 10})
	for _, tc := range []struct {
		what        string
		before, now *nodeLoad
		want        string
	}{
		{"two answers", a, load(1, topology.ShardLoad{Reads: 300, Writes: 30}), "100 10"},
		{"a restart", a, load(2, topology.ShardLoad{Reads: 300, Writes: 30}), "0 0"},
		{"no answer before", nil, load(1, topology.ShardLoad{Reads: 300}), "0 0"},
		{"no data before", load(1), load(1, topology.ShardLoad{Reads: 300}), "0 0"},
		{"no data now", a, load(1), "0 0"},
		{"a total falls", a, load(1, topology.ShardLoad{Reads: 50, Writes: 30}), "0 10"},
	} {
		tc.now.at = tc.now.at.Add(2e9)
		if reads, writes := tc.now.rates(tc.before, 0); fmt.Sprint(reads, writes) != tc.want {
			t.Errorf("%s: %v %v, want %s", tc.what, reads, writes, tc.want)
		}
	}
	// A shard whose primary has changed in between counts on both nodes.
	c := &view.Cluster{Shards: []view.Shard{row("bb", "aa"), row("aa", "bb")}}
	members := []*member{{Node: &view.Node{ID: "aa"}}, {Node: &view.Node{ID: "bb"}}}
	before := []*nodeLoad{load(1, topology.ShardLoad{Reads: 100}), load(1, topology.ShardLoad{Keys: 1})}
	now := []*nodeLoad{load(1, topology.ShardLoad{Reads: 140, Keys: 8}), load(1, topology.ShardLoad{Reads: 60, Keys: 9})}
	for i := range now {
		now[i].at = now[i].at.Add(2e9)
	}
	all := hotShards(c, members, before, now)
	if i := slices.IndexFunc(all, func(r hotShardReport) bool { return r.Shard == 0 }); i != 0 || all[0].Reads != 50 || *all[0].Keys != 9 || all[0].Share != 1 || all[1].Share != 0 {
		t.Errorf("%+v", all)
	}
	if quiet := hotShards(c, members, before, before); quiet[0].Share != 0 || quiet[1].Share != 0 {
		t.Errorf("without commands: %+v", quiet)
	}
}
