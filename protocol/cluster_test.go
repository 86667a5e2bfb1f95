package protocol

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

const thirdID = "fedcba9876543210fedcba9876543210fedcba98"

// threeNodes is a cluster of 16 shards. This node has shards 0 to 3 and 12 to 15, node-b 4 to 7, node-c 8 to
// 11; shard 7 has a copy on node-c, shard 3 on node-b. Each node has a listener for inside clients and one
// for outside clients; node-c has only the first.
func threeNodes() *topology.Topology {
	topo := &topology.Topology{Cluster: "c1", Index: 42, Replicas: 2, Nodes: []topology.Node{
		{ID: selfID, Name: "node-a", BusPort: 17379, Listeners: map[string]topology.Address{"default": {Derived: true, Host: "10.9.9.9"}, "outside": {Host: "a.example", Port: 7001}}},
		{ID: otherID, Name: "node-b", BusPort: 17380, Listeners: map[string]topology.Address{"default": {Derived: true, Host: "10.0.0.2", Port: 7379}, "outside": {Host: "b.example", Port: 7002}}},
		{ID: thirdID, Name: "node-c", BusPort: 17381, Listeners: map[string]topology.Address{"default": {Host: "fd00::3", Port: 7379}}},
	}}
	for i, owner := range []topology.NodeID{selfID, otherID, thirdID, selfID} {
		for range 4 {
			topo.Shards = append(topo.Shards, topology.Shard{Epoch: uint64(10 + i), Primary: owner, ISR: []topology.NodeID{owner}})
		}
	}
	topo.Shards[3].ISR = []topology.NodeID{otherID, selfID}
	topo.Shards[7].ISR = []topology.NodeID{otherID, thirdID}
	topo.Shards[7].Epoch = 20
	return topo
}

// Keys, and their shards.
const (
	keyA = "e4"  // shard 0
	keyB = "bar" // shard 4
	keyC = "foo" // shard 11
)

// startThree starts the first node of threeNodes, with both listeners.
func startThree(t *testing.T) (s *testServer, inside, outside *client) {
	t.Helper()
	s = startOn(t, Config{}, 16, func(*shard.Store) {})
	s.follow(t, threeNodes())
	return s, s.dial(t), s.listen(t, "outside").dial(t)
}

// listen adds a listener, and returns the server as its clients reach it.
func (s *testServer) listen(t testing.TB, name string) *testServer {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(Listener{Listener: socket, Name: name}); err != nil {
		t.Fatal(err)
	}
	return &testServer{Server: s.Server, addr: socket.Addr().String()}
}

func (s *testServer) down(ids ...topology.NodeID) {
	members := map[topology.NodeID]Liveness{}
	for _, id := range ids {
		members[id] = Liveness{Since: time.UnixMilli(1_700_000_000_000)}
	}
	s.view.Store(&fakeCluster{members: members})
}

func TestMovedNamesTheListenerOfTheClient(t *testing.T) {
	t.Parallel()
	_, inside, outside := startThree(t)
	for key, want := range map[string]int{keyA: 0, keyB: 4, keyC: 11} {
		if got := topology.Slot([]byte(key)) / 1024; got != want {
			t.Fatalf("%s is in shard %d", key, got)
		}
	}
	inside.talk([]exchange{
		{"EXISTS " + keyA, `:0`},
		{"EXISTS " + keyB, `-MOVED 5061 10.0.0.2:7379`},
		{"EXISTS " + keyC, `-MOVED 12182 fd00::3:7379`}, // as Redis writes it: clients look for the last colon
	})
	outside.talk([]exchange{
		{"EXISTS " + keyA, `:0`},
		{"EXISTS " + keyB, `-MOVED 5061 b.example:7002`},
		{"EXISTS " + keyC, `-CLUSTERDOWN Hash slot 12182 is served by node node-c (` + thirdID[:8] + `), which advertises no address for the listener "outside"`},
	})
}

func TestUnservedSlots(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	change := func(row topology.Shard) {
		topo := threeNodes()
		topo.Shards[11] = row
		s.follow(t, topo)
	}
	const at = `-CLUSTERDOWN Hash slot 12182 is not served: `
	s.down(thirdID)
	c.want(at+`its node node-c (`+thirdID[:8]+`) is down`, "EXISTS", keyC)
	s.view.Store(&fakeCluster{members: map[topology.NodeID]Liveness{thirdID: {}}})
	c.want(at+`its node node-c (`+thirdID[:8]+`) has not been seen yet`, "EXISTS", keyC)
	s.view.Store(nil)
	change(topology.Shard{Epoch: 30})
	c.want(at+`shard 11 has no primary`, "EXISTS", keyC)
	change(topology.Shard{Epoch: 30, ISR: []topology.NodeID{thirdID, otherID}})
	s.down(thirdID)
	c.want(at+`shard 11 has no primary; its copies are on: node node-c (`+thirdID[:8]+`), which is down; node node-b (`+otherID[:8]+`)`, "EXISTS", keyC)
	change(topology.Shard{Epoch: 30, Primary: "f00"})
	c.want(at+`its node f00 is unknown to this node`, "EXISTS", keyC)

	// A transaction fails in the same way.
	c.want("+OK", "MULTI")
	c.want(at+`its node f00 is unknown to this node`, "EXISTS", keyC)
	c.want("-EXECABORT Transaction discarded because of previous errors.", "EXEC")
}

// A node that waits for no other node asks clients to wait.
func TestWhileTheNodeStarts(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	s.follow(t, &topology.Topology{})
	s.view.Store(&fakeCluster{status: ClusterStatus{Waiting: "the start", Starting: true}})
	s.dial(t).talk([]exchange{
		{"EXISTS foo", `-LOADING this node is starting, it serves in a moment`},
		{"CLUSTER LEAVE", `-LOADING this node is starting, it serves in a moment`},
		{"PING", `+PONG`},
	})
	s.follow(t, &topology.Topology{Cluster: "c", Index: 1, Nodes: []topology.Node{{ID: selfID}}, Shards: make([]topology.Shard, 16)})
	s.dial(t).talk([]exchange{{"EXISTS foo", `-LOADING this node is starting, it serves in a moment`}})
	s.view.Store(&fakeCluster{})
	s.dial(t).talk([]exchange{{"EXISTS foo", `-CLUSTERDOWN Hash slot 12182 is not served: shard 11 has no primary`}})
}

func TestBeforeBootstrap(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	s.follow(t, &topology.Topology{})
	s.view.Store(&fakeCluster{status: ClusterStatus{Waiting: "1 of 3 nodes is here"}})
	c := s.dial(t)
	c.talk([]exchange{
		{"EXISTS foo", `-CLUSTERDOWN this node is not part of a cluster yet: 1 of 3 nodes is here`},
		{"PING", `+PONG`}, {"DBSIZE", `:0`}, {"SCAN 0", `["0" []]`}, {"RANDOMKEY", `$nil`}, {"FLUSHALL", `+OK`},
		{"CLUSTER MYID", `"` + selfID + `"`},
		{"CLUSTER SLOTS", `[]`}, {"CLUSTER SHARDS", `[]`}, {"CLUSTER LINKS", `[]`},
		{"CLUSTER KEYSLOT foo", `:12182`}, {"CLUSTER COUNTKEYSINSLOT 12182", `:0`}, {"CLUSTER GETKEYSINSLOT 12182 10", `[]`},
		{"CLUSTER SLOT-STATS SLOTSRANGE 0 16383", `[]`},
		{"CLUSTER NODES", fmt.Sprintf("\"%s %s@0 myself,master - 0 0 0 connected\n\"", selfID, s.addr)},
		{"CLUSTER REPLICAS " + selfID, `-ERR Unknown node ` + selfID},
		{"CLUSTER LEAVE", `-CLUSTERDOWN this node is not part of a cluster yet: 1 of 3 nodes is here`},
		{"CLUSTER FORGET " + selfID, `-ERR I tried hard but I can't forget myself...`},
	})
	for command, fields := range map[string][]string{
		"CLUSTER INFO": {"cluster_state:fail", "cluster_slots_assigned:0", "cluster_slots_ok:0", "cluster_slots_fail:0", "cluster_known_nodes:1", "cluster_size:0", "cluster_waiting_for:1 of 3 nodes is here"},
		"INFO":         {"cluster_enabled:1", "cluster_state:fail", "cluster_waiting_for:1 of 3 nodes is here", "shards_served:0"},
	} {
		c.lines(command, fields...)
	}
}

// lines checks that the reply to a command contains lines.
func (c *client) lines(command string, lines ...string) {
	c.t.Helper()
	text := c.do(strings.Fields(command)...)
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\r\n") {
			c.t.Errorf("%s lacks %s:\n%s", command, line, text)
		}
	}
}

func TestSlotsOfThreeNodes(t *testing.T) {
	t.Parallel()
	s, inside, outside := startThree(t)
	host, port, _ := strings.Cut(s.addr, ":")
	for _, proto := range []string{"2", "3"} {
		none := map[string]string{"2": "[]", "3": "{}"}[proto]
		node := func(host, port, id string) string {
			return fmt.Sprintf(`["%s" :%s "%s" %s]`, host, port, id, none)
		}
		a, b, c := node(host, port, selfID), node("10.0.0.2", "7379", otherID), node("fd00::3", "7379", thirdID)
		inside.do("HELLO", proto)
		inside.want(fmt.Sprintf(`[[:0 :4095 %[1]s] [:4096 :8191 %[2]s] [:8192 :12287 %[3]s] [:12288 :16383 %[1]s]]`, a, b, c), "CLUSTER", "SLOTS")
		// Outside clients cannot reach node-c.
		a, b = node("a.example", "7001", selfID), node("b.example", "7002", otherID)
		outside.do("HELLO", proto)
		outside.want(fmt.Sprintf(`[[:0 :4095 %[1]s] [:4096 :8191 %[2]s] [:12288 :16383 %[1]s]]`, a, b), "CLUSTER", "SLOTS")
	}
}

// A node is listed as a replica only if it serves no slots: clients assume that it is either or.
func TestSlotsNameReplicas(t *testing.T) {
	t.Parallel()
	s, inside, outside := startThree(t)
	topo := threeNodes()
	for i := range topo.Shards {
		if topo.Shards[i].Primary == thirdID {
			topo.Shards[i].Primary, topo.Shards[i].ISR = otherID, []topology.NodeID{thirdID, selfID, otherID}
		}
	}
	s.follow(t, topo)
	host, port, _ := strings.Cut(s.addr, ":")
	inside.want(fmt.Sprintf(`[[:0 :4095 ["%[1]s" :%[2]s "%[3]s" []]] [:4096 :7167 ["10.0.0.2" :7379 "%[4]s" []]]`+
		` [:7168 :12287 ["10.0.0.2" :7379 "%[4]s" []] ["fd00::3" :7379 "%[5]s" []]] [:12288 :16383 ["%[1]s" :%[2]s "%[3]s" []]]]`, host, port, selfID, otherID, thirdID), "CLUSTER", "SLOTS")
	outside.want(fmt.Sprintf(`[[:0 :4095 ["a.example" :7001 "%[1]s" []]] [:4096 :7167 ["b.example" :7002 "%[2]s" []]] [:7168 :12287 ["b.example" :7002 "%[2]s" []]]`+
		` [:12288 :16383 ["a.example" :7001 "%[1]s" []]]]`, selfID, otherID), "CLUSTER", "SLOTS")
}

// A node without slots that has copies of the shards of several nodes is a replica of each, and no one's slave.
func TestReplicaOfSeveralNodes(t *testing.T) {
	t.Parallel()
	s, inside, _ := startThree(t)
	topo := threeNodes()
	for i := range topo.Shards {
		row := &topo.Shards[i]
		if row.Primary == thirdID {
			row.Primary = otherID
		}
		row.ISR, row.Learners = []topology.NodeID{thirdID, row.Primary}, nil
	}
	topo.Shards[0].ISR, topo.Shards[0].Learners = []topology.NodeID{selfID}, []topology.NodeID{thirdID} // it still catches up
	s.follow(t, topo)
	host, port, _ := strings.Cut(s.addr, ":")
	a, b, c := fmt.Sprintf(`["%s" :%s "%s" []]`, host, port, selfID), `["10.0.0.2" :7379 "`+otherID+`" []]`, `["fd00::3" :7379 "`+thirdID+`" []]`
	inside.want(fmt.Sprintf(`[[:0 :1023 %[1]s] [:1024 :4095 %[1]s %[3]s] [:4096 :12287 %[2]s %[3]s] [:12288 :16383 %[1]s %[3]s]]`, a, b, c), "CLUSTER", "SLOTS")
	shards := inside.do("CLUSTER", "SHARDS")
	if got := strings.Count(shards, `"role" "replica"`); got != 2 || strings.Count(shards, `"id" "`+thirdID+`"`) != 2 {
		t.Errorf("%d replicas in %s", got, shards)
	}
	for _, id := range []string{selfID, otherID} {
		if got := inside.do("CLUSTER", "REPLICAS", id); !strings.Contains(got, thirdID+" fd00::3:7379@17381 slave "+id+" ") {
			t.Errorf("the replicas of %s are %s", id, got)
		}
	}
	if got := inside.do("CLUSTER", "NODES"); !strings.Contains(got, thirdID+" fd00::3:7379@17381 master - 0 0 0 connected\n") {
		t.Error(got)
	}
}

func TestShardsOfThreeNodes(t *testing.T) {
	t.Parallel()
	s, inside, outside := startThree(t)
	host, port, _ := strings.Cut(s.addr, ":")
	node := func(id, host, port, role, health string) string {
		return fmt.Sprintf(`{"id" "%s" "port" :%s "ip" "%s" "endpoint" "%[3]s" "role" "%s" "replication-offset" :0 "health" "%s"}`, id, port, host, role, health)
	}
	s.down(thirdID)
	inside.do("HELLO", "3")
	inside.want(`[{"slots" [:0 :4095 :12288 :16383] "nodes" [`+node(selfID, host, port, "master", "online")+" "+node(otherID, "10.0.0.2", "7379", "replica", "online")+`]}`+
		` {"slots" [:4096 :8191] "nodes" [`+node(otherID, "10.0.0.2", "7379", "master", "online")+" "+node(thirdID, "fd00::3", "7379", "replica", "fail")+`]}`+
		` {"slots" [:8192 :12287] "nodes" [`+node(thirdID, "fd00::3", "7379", "master", "fail")+`]}]`, "CLUSTER", "SHARDS")
	s.view.Store(&fakeCluster{members: map[topology.NodeID]Liveness{otherID: {Alive: true, Loading: true}}})
	outside.want(`[["slots" [:0 :4095 :12288 :16383] "nodes" [["id" "`+selfID+`" "port" :7001 "ip" "a.example" "endpoint" "a.example" "role" "master" "replication-offset" :0 "health" "online"]`+
		` ["id" "`+otherID+`" "port" :7002 "ip" "b.example" "endpoint" "b.example" "role" "replica" "replication-offset" :0 "health" "loading"]]]`+
		` ["slots" [:4096 :8191] "nodes" [["id" "`+otherID+`" "port" :7002 "ip" "b.example" "endpoint" "b.example" "role" "master" "replication-offset" :0 "health" "loading"]]]]`,
		"CLUSTER", "SHARDS")
}

func TestNodesOfThreeNodes(t *testing.T) {
	t.Parallel()
	s, inside, outside := startThree(t)
	topo := threeNodes()
	topo.Nodes = append(topo.Nodes, topology.Node{ID: "ffff", Name: "idle", Listeners: map[string]topology.Address{"default": {Host: "10.0.0.4", Port: 7379}}})
	s.follow(t, topo)
	s.down(thirdID)
	inside.want(`"`+selfID+" "+s.addr+"@17379 myself,master - 0 0 13 connected 0-4095 12288-16383\n"+
		otherID+" 10.0.0.2:7379@17380 master - 0 0 20 connected 4096-8191\n"+
		thirdID+" fd00::3:7379@17381 master,fail - 1700000000000 0 12 disconnected 8192-12287\n"+
		"ffff 10.0.0.4:7379@0 master - 0 0 0 connected\n\"", "CLUSTER", "NODES")
	outside.want(`"`+selfID+" a.example:7001@17379,a.example myself,master - 0 0 13 connected 0-4095 12288-16383\n"+
		otherID+" b.example:7002@17380,b.example master - 0 0 20 connected 4096-8191\n\"", "CLUSTER", "NODES")
	inside.talk([]exchange{
		{"CLUSTER REPLICAS " + otherID, `["` + thirdID + ` fd00::3:7379@17381 slave,fail ` + otherID + ` 1700000000000 0 12 disconnected"]`},
		{"CLUSTER REPLICAS " + selfID, `["` + otherID + ` 10.0.0.2:7379@17380 slave ` + selfID + ` 0 0 20 connected"]`},
		{"CLUSTER REPLICAS " + thirdID, `[]`},
	})
	single := *topo // one slot per shard: written without a dash
	single.Shards = make([]topology.Shard, topology.Slots)
	single.Shards[7].Primary, single.Shards[9].Primary, single.Shards[10].Primary = selfID, selfID, selfID
	s.topo.Store(&single) // the store has fewer shards
	if got := inside.do("CLUSTER", "NODES"); !strings.Contains(got, "connected 7 9-10\n") {
		t.Error(got)
	}
}

// A cached reply is never sent once it is out of date.
func TestCachedRepliesAreNeverStale(t *testing.T) {
	t.Parallel()
	s, inside, outside := startThree(t)
	seen := map[string]string{}
	check := func(state, changes string) {
		for name, c := range map[string]*client{"inside": inside, "outside": outside} {
			for _, what := range []string{"SLOTS", "SHARDS", "NODES"} {
				first, again := c.do("CLUSTER", what), c.do("CLUSTER", what)
				if first != again {
					t.Errorf("%s: CLUSTER %s differs from one call to the next", state, what)
				}
				if key := name + what; strings.Contains(changes, what) == (seen[key] == first) {
					t.Errorf("%s, %s: CLUSTER %s changed: %v", state, name, what, seen[key] != first)
				}
				seen[name+what] = first
			}
		}
	}
	check("first", "SLOTS SHARDS NODES")
	s.down(otherID)
	check("node-b is down", "SHARDS NODES")
	s.view.Store(&fakeCluster{members: map[topology.NodeID]Liveness{otherID: {Since: time.UnixMilli(1_700_000_009_000)}}})
	check("node-b is down since a later time", "NODES")
	s.view.Store(nil)
	check("node-b is back", "SHARDS NODES")
	topo := threeNodes()
	topo.Shards[0].Primary = otherID
	s.follow(t, topo)
	check("shard 0 has moved", "SLOTS SHARDS NODES")
}

// The cache of replies is bounded, however many addresses clients connect to.
func TestReplyCacheIsBounded(t *testing.T) {
	t.Parallel()
	l := newLayout(threeNodes())
	for i := range 4 * maxCached {
		size := 100
		if i < maxCachedBytes>>20+4 {
			size = 1 << 20
		}
		reply := l.reply(replyKey{what: "slots", local: fmt.Sprint(i)}, func(w *resp.Writer) { w.Text(strings.Repeat("x", size)) })
		if len(reply) < size || len(l.replies) > maxCached || l.bytes > maxCachedBytes+len(reply) {
			t.Fatalf("%d replies of %d bytes are kept", len(l.replies), l.bytes)
		}
	}
}

func TestInfoOfThreeNodes(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	s.view.Store(&fakeCluster{status: ClusterStatus{Leader: otherID, Term: 3, Voters: 3, Quorum: true, Applied: 42, Proposals: 5, Failed: 1}})
	c.lines("CLUSTER INFO", "cluster_state:ok", "cluster_slots_assigned:16384", "cluster_slots_ok:16384", "cluster_slots_pfail:0", "cluster_slots_fail:0",
		"cluster_known_nodes:3", "cluster_size:3", "cluster_current_epoch:20", "cluster_my_epoch:13",
		"cluster_id:c1", "cluster_shards:16", "cluster_my_shards:8", "cluster_leader:"+otherID, "cluster_term:3", "cluster_voters:3", "cluster_quorum:1",
		"cluster_topology_index:42", "cluster_applied_index:42", "cluster_waiting_for:", "cluster_nodes_down:0", "cluster_nodes_down_names:",
		"cluster_proposals:5", "cluster_proposals_failed:1")
	c.lines("INFO", "role:master", "cluster_enabled:1", "cluster_state:ok", "cluster_quorum:1", "shards_served:8", "shards_least_copies:1")

	s.down(otherID, thirdID)
	c.lines("CLUSTER INFO", "cluster_state:fail", "cluster_slots_assigned:16384", "cluster_slots_ok:8192", "cluster_slots_fail:8192",
		"cluster_nodes_down:2", "cluster_nodes_down_names:node-b,node-c", "cluster_quorum:0")
	s.view.Store(nil)
	topo := threeNodes()
	topo.Shards[15].Primary = ""
	s.follow(t, topo)
	c.lines("CLUSTER INFO", "cluster_state:fail", "cluster_slots_assigned:15360", "cluster_slots_ok:15360", "cluster_slots_fail:0", "cluster_slots_vacant:1024")
	s.follow(t, threeNodes())
	s.view.Store(&fakeCluster{status: ClusterStatus{Waiting: "shards\r\nare read"}})
	c.lines("CLUSTER INFO", "cluster_state:fail", "cluster_slots_ok:16384", "cluster_waiting_for:shards  are read")
}

func TestLinks(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	since := time.UnixMilli(1_700_000_000_000)
	s.view.Store(&fakeCluster{links: []ClusterLink{
		{Node: otherID, Since: since.Add(time.Second)},
		{Inbound: true, Node: thirdID, Since: since},
		{Node: otherID, Since: since}, // calls and raft have connections of their own
		{Inbound: true, Node: thirdID, Since: since.Add(time.Second)},
		{Inbound: true, Node: otherID, Since: since},
	}})
	c.want(`[["direction" "to" "node" "`+otherID+`" "create-time" :1700000000000 "events" "r" "send-buffer-allocated" :0 "send-buffer-used" :0]`+
		` ["direction" "from" "node" "`+thirdID+`" "create-time" :1700000000000 "events" "r" "send-buffer-allocated" :0 "send-buffer-used" :0]`+
		` ["direction" "from" "node" "`+otherID+`" "create-time" :1700000000000 "events" "r" "send-buffer-allocated" :0 "send-buffer-used" :0]]`, "CLUSTER", "LINKS")
	c.lines("INFO clients", "cluster_connections:5")
}

func TestForget(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	forgotten := make(chan topology.NodeID, 2)
	decides := func(outcome error) {
		s.view.Store(&fakeCluster{
			members: map[topology.NodeID]Liveness{thirdID: {}},
			forget:  func(_ context.Context, id topology.NodeID) error { forgotten <- id; return outcome },
		})
	}
	decides(nil)
	c.want(`-ERR I tried hard but I can't forget myself...`, "CLUSTER", "FORGET", selfID)
	c.want(`-ERR Unknown node nosuch`, "CLUSTER", "FORGET", "nosuch")
	c.want(`-ERR node node-b (`+otherID[:8]+`) is alive: send it CLUSTER LEAVE, or stop it first`, "CLUSTER", "FORGET", otherID)
	if len(forgotten) > 0 {
		t.Fatalf("%s was forgotten", <-forgotten)
	}
	c.want(`+OK`, "CLUSTER", "FORGET", thirdID)
	if id := receive(t, "the forgotten node", forgotten); id != thirdID {
		t.Errorf("%q was forgotten", id)
	}
	decides(errors.New("no leader is known"))
	c.want(`-ERR no leader is known`, "CLUSTER", "FORGET", thirdID)
}

func TestLeave(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	var calls atomic.Int64
	alive := fakeCluster{leave: func(context.Context) error { calls.Add(1); return nil }}
	alone := alive
	alone.members = map[topology.NodeID]Liveness{otherID: {}, thirdID: {}}
	s.view.Store(&alone)
	c.want(`-ERR no other live node can take over the shards of this one`, "CLUSTER", "LEAVE")
	s.view.Store(&alive)
	c.want(`+OK`, "MULTI")
	c.want(`-ERR Command not allowed inside a transaction`, "CLUSTER", "LEAVE")
	c.want(`+OK`, "DISCARD")
	c.want(`-ERR syntax error`, "CLUSTER", "LEAVE", "NOW")
	c.want(`+OK`, "NP.SET", keyA, arrayA) // which moves with its shard
	c.want(`+OK`, "CLUSTER", "LEAVE")
	topo := threeNodes()
	topo.Shards[0].Epoch = 13
	topo.Nodes[0].State = topology.Leaving
	s.follow(t, topo)
	c.want(`+OK`, "CLUSTER", "LEAVE")
	if n := calls.Load(); n != 1 {
		t.Errorf("%d proposals", n)
	}
}

// A node that stops does not wait for a decision, and tells the client that the outcome is uncertain.
func TestCloseEndsTheWaitForADecision(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	asked := make(chan struct{})
	s.view.Store(&fakeCluster{leave: func(ctx context.Context) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}})
	c.send(encode("CLUSTER", "LEAVE"))
	receive(t, "the request to the cluster", asked)
	if err := s.Server.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := c.reply(); got != `-UNCERTAIN the outcome is unknown: the cluster has not decided in time and may still do so: context canceled` {
		t.Error(got)
	}
}

func TestMeetSaysHowToJoin(t *testing.T) {
	t.Parallel()
	_, c, _ := startThree(t)
	c.want(`-ERR CLUSTER MEET is not supported: start the new node with --join and the address of a node of the cluster`, "CLUSTER", "MEET", "10.0.0.4", "7379")
}
