package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

// claimSim is a set of nodes that ask each other for claims over a bus that loses requests and
// answers, driven by a seed.
type claimSim struct {
	t     *testing.T
	seed  uint64
	nodes map[topology.NodeID]*Cluster
	files map[topology.NodeID]*memoryFiles

	mu     sync.Mutex            // guards all below
	chance map[string]*rand.Rand // by sender and receiver
	late   []func()              // duplicates of requests that arrive later
}

var errNoAnswer = errors.New("no answer")

// Dial implements Bus.
func (*claimSim) Dial(context.Context, Target) (net.Conn, error) { return nil, errNoAnswer }

// Probe implements Bus.
func (*claimSim) Probe(context.Context, string) (Caller, error) { return Caller{}, errNoAnswer }

// claimBus is one node's bus.
type claimBus struct {
	*claimSim
	self topology.NodeID
}

// Call implements Bus.
func (v claimBus) Call(ctx context.Context, to Target, m Method, payload []byte) ([]byte, error) {
	if v.lost(to.Node) {
		return nil, errNoAnswer
	}
	from := v.nodes[v.self]
	caller := Caller{Node: v.self, Store: from.self.Store, Cluster: from.ID()}
	if v.lost(to.Node) { // a duplicate arrives later
		v.mu.Lock()
		v.late = append(v.late, func() { v.nodes[to.Node].ServeCall(context.Background(), caller, m, payload) })
		v.mu.Unlock()
	}
	reply, err := v.nodes[to.Node].ServeCall(ctx, caller, m, payload)
	if v.lost(to.Node) {
		return nil, errNoAnswer
	}
	return reply, err
}

// SetClusterID implements Host.
func (*claimSim) SetClusterID(string) error { return nil }

// Publish implements Host.
func (*claimSim) Publish(*topology.Topology) {}

// Joined implements Host.
func (*claimSim) Joined() {}

// Fail implements Host.
func (v *claimSim) Fail(err error) { v.t.Errorf("a node must stop: %v", err) }

// AwaitTopology implements Host.
func (*claimSim) AwaitTopology(context.Context, uint64) error { return nil }

// Transfer implements Host.
func (*claimSim) Load() topology.Load { return topology.Load{} }

func (*claimSim) Transfer(context.Context, topology.NodeID, uint64, []topology.ShardID) []error {
	return nil
}

func testID(i int) topology.NodeID { return topology.NodeID(fmt.Sprintf("%040x", i+1)) }

// start restarts a node with its files.
func (v *claimSim) start(id topology.NodeID, expect int) {
	if old := v.nodes[id]; old != nil {
		old.life.end()
	}
	c := New(Config{
		Self: topology.Node{ID: id, Store: string(id)[8:], Incarnation: 1}, Shards: 16, Replicas: 1, FirstEpoch: 1, BootstrapExpect: expect, Join: []string{"x"},
		Files: v.files[id], Log: slog.New(slog.DiscardHandler),
	}, claimBus{v, id}, v)
	if err := c.load(); err != nil {
		v.t.Fatal(err)
	}
	for other := range v.nodes {
		if other != id {
			c.members.observe(incarnation{meta: meta{node: other, store: string(other)[8:], incarnation: 1, expect: uint8(expect)}, alive: true, bus: "bus"})
		}
	}
	v.nodes[id] = c
}

// Renew implements Bus.
func (claimBus) Renew() {}

// lost reports whether the next message between two nodes is lost. Calls run concurrently, so each
// pair has its own random source.
func (v claimBus) lost(to topology.NodeID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	pair := string(v.self) + string(to)
	if v.chance[pair] == nil {
		a, b := binary.BigEndian.Uint64([]byte(v.self)[32:]), binary.BigEndian.Uint64([]byte(to)[32:])
		v.chance[pair] = rand.New(rand.NewPCG(v.seed, a*31+b))
	}
	return v.chance[pair].Float64() < 0.15
}

// Whatever each node sees, whichever node restarts, whatever is lost: two clusters never share a
// node, and every member granted its claim.
func TestClaimsNeverFormOverlappingClusters(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 100
	}
	if s := os.Getenv("NDRING_SIM_SEEDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	formed := 0
	for seed := range rounds {
		formed += simulateClaims(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if formed < rounds/4 {
		t.Errorf("only %d clusters formed in %d simulations: the test exercises too little", formed, rounds)
	}
}

func simulateClaims(t *testing.T, seed uint64) int {
	const population = 7
	expect := 2 + int(seed%3)
	source := rand.New(rand.NewPCG(seed, 11))
	v := &claimSim{t: t, seed: seed, chance: map[string]*rand.Rand{}, nodes: map[topology.NodeID]*Cluster{}, files: map[topology.NodeID]*memoryFiles{}}
	for i := range population {
		v.nodes[testID(i)], v.files[testID(i)] = nil, &memoryFiles{}
	}
	for i := range population {
		v.start(testID(i), expect)
	}
	defer func() {
		for _, c := range v.nodes {
			c.life.end()
		}
	}()
	for range 120 {
		c := v.nodes[testID(source.IntN(population))]
		if source.IntN(12) == 0 {
			v.start(c.self.ID, expect)
			continue
		}
		if n := len(v.late); n > 0 && source.IntN(3) == 0 {
			i := source.IntN(n)
			v.late[i]()
			v.late = slices.Delete(v.late, i, i+1)
		}
		if c.ID() != "" {
			continue
		}
		binds, err := c.bootstrapper.resolveClaim()
		if err != nil {
			t.Fatal(err)
		}
		if binds || c.ID() != "" {
			continue
		}
		// Each node has its own view: any set in which it is the first.
		members := []string{c.self.server}
		for i := range population {
			if id := testID(i); id > c.self.ID && len(members) < expect && source.IntN(2) == 0 {
				members = append(members, v.nodes[id].self.server)
			}
		}
		if len(members) == expect {
			if err := c.bootstrapper.collect(members); err != nil {
				t.Fatal(err)
			}
			c.life.running.Wait() // for requests that collect does not wait for
		}
	}
	return v.check()
}

// SetRaftState implements Host: these nodes have no data folders.
func (*claimSim) SetRaftState(string) error { return nil }

// check compares the identities of the nodes.
func (v *claimSim) check() (clusters int) {
	owner := map[string]string{} // cluster by server
	for _, c := range v.nodes {
		if c.identity.get().Bootstrap == nil {
			continue
		}
		clusters++
		var members []string
		for _, s := range c.identity.get().Bootstrap.Servers {
			members = append(members, s.ID)
			if other := owner[s.ID]; other != "" {
				v.t.Errorf("node %s is a member of clusters %s and %s", s.ID, other, c.identity.get().Cluster)
			}
			owner[s.ID] = c.identity.get().Cluster
		}
		if !slices.Contains(members, c.self.server) {
			v.t.Errorf("%s formed a cluster without itself", c.self.server)
		}
	}
	for _, c := range v.nodes {
		if c.identity.get().Cluster != "" && owner[c.self.server] != c.identity.get().Cluster {
			v.t.Errorf("%s belongs to cluster %s, but is a member of %q", c.self.server, c.identity.get().Cluster, owner[c.self.server])
		}
		if of := owner[c.self.server]; of != "" && c.identity.get().Cluster == "" && (c.identity.get().Claim == nil || c.identity.get().Claim.Cluster != of) {
			v.t.Errorf("%s is a member of cluster %s, but has withdrawn its claim", c.self.server, of)
		}
	}
	return clusters
}

// The bus serves before the node has read its identity. Until then the node neither grants a claim nor says what became
// of one: it may have granted it to another coordinator, or formed the cluster, before it restarted.
func TestNoAnswerAboutClaimsBeforeTheIdentityIsRead(t *testing.T) {
	t.Parallel()
	a, b := testID(0), testID(1)
	members := []string{serverID(a, string(a)[8:]), serverID(b, string(b)[8:])}
	held := identity{Claim: &claim{Coordinator: testID(2), Store: string(testID(2))[8:], Round: 1, Cluster: "c", Members: members}}
	files := &memoryFiles{}
	if err := held.save(files); err != nil {
		t.Fatal(err)
	}
	v := &claimSim{t: t, nodes: map[topology.NodeID]*Cluster{}}
	c := New(Config{
		Self: topology.Node{ID: b, Store: string(b)[8:], Incarnation: 1}, Shards: 16, Replicas: 1, BootstrapExpect: 2, Join: []string{"x"},
		Files: files, Log: slog.New(slog.DiscardHandler),
	}, claimBus{v, b}, v)
	defer c.life.end()
	wanted := claim{Coordinator: a, Store: string(a)[8:], Round: 1, Cluster: "d", Members: members}
	ask := func(r claimRequest) ([]byte, error) {
		payload, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return c.ServeCall(t.Context(), Caller{Node: a, Store: string(a)[8:]}, MethodClaim, payload)
	}
	for _, r := range []claimRequest{{Claim: wanted, Shards: 16, Replicas: 1}, {Claim: wanted, Question: true}, {Claim: wanted, Release: true}} {
		if reply, err := ask(r); !errors.Is(err, errNotLoaded) {
			t.Errorf("%+v: %s, %v", r, reply, err)
		}
	}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	if reply, err := ask(claimRequest{Claim: wanted, Shards: 16, Replicas: 1}); err != nil || !strings.Contains(string(reply), "has granted its claim to") {
		t.Errorf("after the start: %s, %v", reply, err)
	}
}
