package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// testGoRoutesByTips has go-redis' dynamic resolver send each command to the nodes that its tips
// name, and join their answers. Every command with a request policy has its line here. The cluster
// must be empty.
func testGoRoutesByTips(t *testing.T, nodes []*Node) {
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	client := goRedisCluster(t, nodes[0], 3)
	client.SetCommandInfoResolver(client.NewDynamicResolver())
	var keys []string // of ten slots
	for i, n := range nodes {
		keys = append(keys, keysOf(t, n, []int{2, 7, 1}[i])...)
	}
	store := func() {
		for _, key := range keys {
			if err := client.Do(ctx, "NP.SET", key, array).Err(); err != nil {
				t.Fatalf("NP.SET %s: %v", key, err)
			}
		}
	}
	store()
	with := func(name string, keys ...string) []any {
		args := []any{name}
		for _, key := range keys {
			args = append(args, key)
		}
		return args
	}
	all := append(slices.Clone(keys), "of-none-a", "of-none-b")
	asked := map[string]bool{}
	for _, step := range []struct {
		command []any
		want    string // "*" for any answer
	}{
		{with("DBSIZE"), "10"},
		{with("PING"), "PONG"},
		{with("TOUCH", keys...), "10"},
		{with("EXISTS", all...), "10"},
		{with("NP.EXISTS", all...), "10"},
		{with("NP.MGET", all...), fmt.Sprint(append(slices.Repeat([]any{any(array)}, 10), nil, nil))},
		{with("WAIT", "0", "1"), "*"}, // copies, as soon as the shards have some
		{with("INFO", "server"), "*"},
		{with("RANDOMKEY"), "*"},
		{with("SCAN", "0", "COUNT", "100"), "*"}, // one node: the cursor belongs to it
		{with("NP.SCAN", "0", "COUNT", "100"), "*"},
		{with("DEL", all[:3]...), "3"},
		{with("NP.DEL", all[2:6]...), "3"},
		{with("UNLINK", all[5:]...), "4"},
		{with("DBSIZE"), "0"},
		{nil, ""},
		{with("DBSIZE"), "10"},
		{with("FLUSHALL"), "OK"},
		{with("DBSIZE"), "0"},
		{nil, ""},
		{with("FLUSHDB", "SYNC"), "OK"},
		{with("DBSIZE"), "0"},
	} {
		if step.command == nil {
			store()
			continue
		}
		got, err := client.Do(ctx, step.command...).Result()
		if text := fmt.Sprint(got); err != nil || text != step.want && step.want != "*" {
			t.Errorf("%v: %v, %v, want %s", step.command, got, err, step.want)
		}
		asked[strings.ToLower(step.command[0].(string))] = true
	}
	for name, info := range commandsOf(ctx, t, client) {
		if info.CommandPolicy.Request.String() != "default" && !asked[name] {
			t.Errorf("%s has a request policy, and no line above", name)
		}
	}
	testGoStoresAllOrNone(ctx, t, client, keys)
}

func commandsOf(ctx context.Context, t *testing.T, client *redis.ClusterClient) map[string]*redis.CommandInfo {
	t.Helper()
	commands, err := client.Command(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	return commands
}

// NP.MSET stores all of its arrays or none: no tip lets a client split it.
func testGoStoresAllOrNone(ctx context.Context, t *testing.T, client *redis.ClusterClient, keys []string) {
	t.Helper()
	args := []any{"NP.MSET"}
	for _, key := range keys {
		args = append(args, key, array)
	}
	if err := client.Do(ctx, args...).Err(); !redis.HasErrorPrefix(err, "CROSSSLOT") {
		t.Errorf("NP.MSET of several slots: %v", err)
	}
	if found, err := client.Exists(ctx, keys...).Result(); err != nil || found != 0 {
		t.Errorf("NP.MSET was refused and has stored %d arrays, %v", found, err)
	}
}
