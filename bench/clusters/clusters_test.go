package clusters

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
)

func TestSlotIsThatOfRedisCluster(t *testing.T) {
	for key, want := range map[string]int{"123456789": 0x31c3, "foo": 12182, "": 0} {
		if got := Slot(key); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestMovedReadsOnlyRedirects(t *testing.T) {
	if addr, ok := Moved(ErrorReply("MOVED 12182 127.0.0.1:7001")); !ok || addr != "127.0.0.1:7001" {
		t.Errorf("MOVED: %q %v", addr, ok)
	}
	for _, err := range []error{nil, errors.New("MOVED 1 a:2"), ErrorReply("CLUSTERDOWN the cluster is down"), ErrorReply("MOVED")} {
		if addr, ok := Moved(err); ok {
			t.Errorf("%v: %q", err, addr)
		}
	}
}

const redisNodes = `aa 127.0.0.1:1@11 myself,master - 0 0 1 connected 0-8191
bb 127.0.0.1:2@12 master - 0 0 2 connected 8192-16382 16383 [16383->-aa]
cc 127.0.0.1:3@13 slave aa 0 0 1 connected
dd 127.0.0.1:4@14 slave bb 0 0 2 connected
`

func TestRedisViewCountsLinkedReplicas(t *testing.T) {
	all := func(string) bool { return true }
	v, err := parseRedis(redisNodes, "cluster_state:ok\r\n", all)
	if err != nil || v.issue != nil || v.Copies != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	if got := v.Primaries(); !slices.Equal(got, []string{"127.0.0.1:1", "127.0.0.1:2"}) {
		t.Errorf("primaries: %v", got)
	}
	if primary, replicas := v.Of(16383); primary != "127.0.0.1:2" || !slices.Equal(replicas, []string{"127.0.0.1:4"}) {
		t.Errorf("slot 16383: %s %v", primary, replicas)
	}
	one := func(name string) bool { return name == "127.0.0.1:3" }
	if v, err := parseRedis(redisNodes, "cluster_state:ok\r\n", one); err != nil || v.Copies != 1 {
		t.Errorf("a replica without a link counts: %+v, %v", v, err)
	}
	if v, err := parseRedis(redisNodes, "cluster_state:fail\r\n", all); err != nil || v.issue == nil {
		t.Errorf("a cluster that is down is healthy: %+v, %v", v, err)
	}
}

func TestNdringViewDoesNotCountUncleanCopies(t *testing.T) {
	text := `{"leader":"b","quorum":true,"nodes":[{"id":"a","name":"n1","up":true},{"id":"b","name":"n2","up":true}],
		"shards":[{"primary":"a","in_sync":["a","b"]},{"primary":"b","in_sync":["a","b"],"unclean":["a"]}]}`
	var reply topologyReply
	if err := json.Unmarshal([]byte(text), &reply); err != nil {
		t.Fatal(err)
	}
	v := reply.view()
	if v.issue != nil || v.Leader != "n2" || v.Copies != 1 {
		t.Errorf("%+v", v)
	}
	if primary, replicas := v.Of(0); primary != "n1" || !slices.Equal(replicas, []string{"n2"}) {
		t.Errorf("slot 0: %s %v", primary, replicas)
	}
	if n := v.Changed(v); n != 0 {
		t.Errorf("%d primaries changed at once", n)
	}
	reply.Shards[0].Primary, reply.Shards[1].LeaderEpoch = "", 7
	if n := reply.view().Changed(v); n != 2 {
		t.Errorf("%d primaries changed, want 2: one is gone, one was interrupted", n)
	}
	if reply.view().issue == nil {
		t.Error("a shard without a primary is healthy")
	}
}
