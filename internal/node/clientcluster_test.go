package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
	"github.com/ndring/ndring/protocol"
)

// expect checks the reply to a command. On a busy machine the leader may change at any time: a command that was not
// decided is repeated.
func expect(t *testing.T, n *Node, want, command string) {
	t.Helper()
	for deadline := time.Now().Add(clusterTime); ; time.Sleep(time.Millisecond) {
		got := dialTalker(t, n).say(strings.Fields(command)...)
		if got == want {
			return
		}
		if !undecidedReply(got) || time.Now().After(deadline) {
			t.Errorf("%s: %s answers %.500s, want %s", n.config.NodeID, command, got, want)
			return
		}
	}
}

// undecidedReply reports whether the cluster could not decide at the time.
func undecidedReply(reply string) bool {
	reply = strings.TrimPrefix(reply, "-")
	return strings.HasPrefix(reply, "UNCERTAIN ") || strings.HasPrefix(reply, "ERR the cluster has no leader")
}

// awaitSetting waits until a setting has a value on all nodes.
func awaitSetting(t *testing.T, nodes []*Node, name, want string) {
	t.Helper()
	for deadline := time.Now().Add(clusterTime); ; time.Sleep(time.Millisecond) {
		var got []string
		for _, n := range nodes {
			got = append(got, value(n, name))
		}
		if strings.Join(got, "|") == strings.Repeat(want+"|", len(nodes)-1)+want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %q on the nodes, want %q", name, got, want)
		}
	}
}

// wantInfo checks that CLUSTER INFO has lines.
func wantInfo(t *testing.T, n *Node, lines ...string) {
	t.Helper()
	info := dialTalker(t, n).say("CLUSTER", "INFO")
	for _, line := range lines {
		if !strings.Contains(info, "\n"+line+"\r\n") {
			t.Errorf("CLUSTER INFO of %s lacks %s:\n%s", n.config.NodeID, line, info)
		}
	}
}

func TestClusterSettings(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3, "--timeout", "60", "--maxclients", "500")
	for i, n := range nodes { // any node may be asked, and has applied the value when it answers
		seconds := fmt.Sprint(100 + i)
		expect(t, n, "+OK", "CLUSTER CONFIG SET timeout "+seconds+" MAX-ARRAY-BYTES 1kb")
		expect(t, n, `["timeout" "`+seconds+`"]`, "CONFIG GET timeout")
		expect(t, n, `["max-array-bytes" "1024" "timeout" "`+seconds+`"]`, "CLUSTER CONFIG GET *")
		awaitSetting(t, nodes, "timeout", seconds)
		awaitSetting(t, nodes, "max-array-bytes", "1024")
	}
	wantInfo(t, nodes[0], "cluster_settings:2", "cluster_settings_overridden:", "cluster_settings_refused:")

	// A node's own CONFIG SET overrides the cluster's until the cluster decides again, even the same value.
	expect(t, nodes[1], "+OK", "CONFIG SET timeout 7 maxclients 900")
	wantInfo(t, nodes[1], "cluster_settings_overridden:timeout")
	expect(t, nodes[0], "+OK", "CLUSTER CONFIG SET log-level debug")
	awaitSetting(t, nodes, "log-level", "debug")
	expect(t, nodes[1], `["timeout" "7"]`, "CONFIG GET timeout")
	expect(t, nodes[1], `["timeout" "102"]`, "CLUSTER CONFIG GET timeout")
	expect(t, nodes[2], `["timeout" "102"]`, "CONFIG GET timeout")
	expect(t, nodes[2], "+OK", "CLUSTER CONFIG SET timeout 102")
	awaitSetting(t, nodes, "timeout", "102")
	expect(t, nodes[1], `["maxclients" "900"]`, "CONFIG GET maxclients")
	wantInfo(t, nodes[1], "cluster_settings_overridden:")

	// A joining node has the cluster's settings as soon as it serves.
	joined := joinCluster(t, nodes, "--timeout", "33")
	for name, want := range map[string]string{"timeout": "102", "max-array-bytes": "1024", "log-level": "debug", "maxclients": "10000"} {
		if got := value(joined, name); got != want {
			t.Errorf("%s of the joined node is %s, want %s", name, got, want)
		}
	}

	// After a reset each node has the value that it was started with, even where the cluster had set nothing.
	expect(t, joined, "+OK", "CLUSTER CONFIG RESET timeout maxclients")
	awaitSetting(t, nodes, "timeout", "60")
	awaitSetting(t, nodes, "maxclients", "500")
	expect(t, joined, `["timeout" "33"]`, "CONFIG GET timeout")
	expect(t, joined, `["log-level" "debug" "max-array-bytes" "1024"]`, "CLUSTER CONFIG GET *")
}

// An invalid setting is refused with the errors of CONFIG SET, and nothing changes.
func TestRefusedClusterSettings(t *testing.T) {
	t.Parallel()
	n := openNode(t)
	expect(t, n, "+OK", "CLUSTER CONFIG SET timeout 5")
	before := n.cluster.Topology().Index
	for _, pair := range []string{
		"nosuch 1", "maxclients 0", "maxclients many", "port 1", "cluster-enabled no", "timeout 8", "save 60", "maxmemory-policy best", "appendonly no", "upload-stall 0s",
	} {
		command := "CONFIG SET timeout 9 " + pair
		want := dialTalker(t, n).say(strings.Fields(command)...)
		if want[0] != '-' {
			t.Fatalf("%s: %s", command, want)
		}
		expect(t, n, want, "CLUSTER "+command)
	}
	const secret = "the cluster would keep the password in plain text in the log and the data folder of every node: " +
		"set it on each node with CONFIG SET, and with NDRING_REQUIREPASS or NDRING_REQUIREPASS_FILE for its next start"
	for command, want := range map[string]string{
		"SET timeout 9 requirepass hidden":   "CONFIG SET failed (possibly related to argument 'requirepass') - " + secret,
		"RESET timeout requirepass":          "CLUSTER CONFIG RESET failed (possibly related to argument 'requirepass') - " + secret,
		"RESET timeout nosuch":               "Unknown option or number of arguments for CLUSTER CONFIG RESET - 'nosuch'",
		"RESET timeout port":                 "CLUSTER CONFIG RESET failed (possibly related to argument 'port') - can't set immutable config",
		"RESET timeout databases":            "CLUSTER CONFIG RESET failed (possibly related to argument 'databases') - can't set immutable config",
		"RESET timeout maxclients Timeout":   "CLUSTER CONFIG RESET failed (possibly related to argument 'timeout') - duplicate parameter",
		"RESET requirepass requirepass port": "CLUSTER CONFIG RESET failed (possibly related to argument 'requirepass') - " + secret,
	} {
		expect(t, n, "-ERR "+want, "CLUSTER CONFIG "+command)
	}
	expect(t, n, `["timeout" "5"]`, "CLUSTER CONFIG GET *")
	expect(t, n, `["timeout" "5"]`, "CONFIG GET timeout")
	if text, err := n.cluster.Topology().Encode(); err != nil || strings.Contains(string(text), "hidden") || n.cluster.Topology().SetAt["timeout"] > before {
		t.Errorf("the topology is %.500s, %v", text, err)
	}
}

// A setting from a node of another version that this node cannot apply is reported, and the others are applied.
func TestClusterSettingsOfAnotherVersion(t *testing.T) {
	t.Parallel()
	n := openNode(t, "--maxclients", "77")
	errs, err := n.cluster.Propose(t.Context(), topology.Command{Ops: []topology.Op{
		{Kind: topology.ConfigSet, Name: "of-later", Value: "1"}, {Kind: topology.ConfigSet, Name: "maxclients", Value: "lots"}, {Kind: topology.ConfigSet, Name: "port", Value: "1"},
		{Kind: topology.ConfigSet, Name: "requirepass", Value: "x"}, {Kind: topology.ConfigSet, Name: "timeout", Value: "5"},
	}})
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	awaitSetting(t, []*Node{n}, "timeout", "5")
	for name, want := range map[string]string{"maxclients": "77", "port": "0", "requirepass": "", "of-later": "(none)"} {
		if got := value(n, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	wantInfo(t, n, "cluster_settings:5", "cluster_settings_refused:maxclients,of-later,port,requirepass")
	expect(t, n, "+OK", "CONFIG SET maxclients 78")
	wantInfo(t, n, "cluster_settings_overridden:maxclients")
	expect(t, n, "+OK", "CLUSTER CONFIG RESET of-later port requirepass maxclients")
	wantInfo(t, n, "cluster_settings:1", "cluster_settings_refused:", "cluster_settings_overridden:")
	expect(t, n, `["maxclients" "77"]`, "CONFIG GET maxclients")
}

// When several clients set settings at once through different nodes, the last decision applies on all nodes, as a whole.
func TestClusterSettingsAtOnce(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nodes := openCluster(t, 3)
	var clients sync.WaitGroup
	for i, n := range nodes {
		clients.Go(func() {
			for j := range 10 {
				v := fmt.Sprint(1 + 100*i + j)
				change := []protocol.Setting{{Name: "timeout", Value: v}, {Name: "maxclients", Value: v}}
				for deadline := time.Now().Add(clusterTime); ; { // on a busy machine the leader may change meanwhile
					err := n.view.ChangeClusterSettings(t.Context(), change)
					if err == nil {
						break
					}
					if time.Now().After(deadline) {
						t.Errorf("%s: %v", n.config.NodeID, err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	clients.Wait()
	for deadline := time.Now().Add(clusterTime); ; time.Sleep(time.Millisecond) {
		last := nodes[0].cluster.Topology() // not necessarily the newest
		for _, n := range nodes[1:] {
			if topo := n.cluster.Topology(); topo.Index > last.Index {
				last = topo
			}
		}
		want := last.Settings["timeout"]
		got := []string{last.Settings["maxclients"]}
		for _, n := range nodes {
			got = append(got, value(n, "timeout"), value(n, "maxclients"))
		}
		if want != "" && !slices.ContainsFunc(got, func(v string) bool { return v != want }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("both settings are %q on the nodes, want %s", got, want)
		}
	}
}

// A node started with too small a maxmemory evicts nothing: it applies the cluster's limit before it serves.
func TestClusterSettingsComeBeforeTheShards(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small := []string{"--dir", dir, "--maxmemory", "1mb", "--maxmemory-policy", "allkeys-random"}
	n := openNode(t, small...)
	expect(t, n, "+OK", "CLUSTER CONFIG SET maxmemory 0 maxmemory-policy noeviction")
	c := dialTalker(t, n)
	for i := range 200 {
		if got := c.say("NP.SET", fmt.Sprint("k", i), array); got != "+OK" {
			t.Fatal(got)
		}
	}
	closeWithin(t, n)
	n = openNode(t, small...)
	expect(t, n, `["maxmemory" "0" "maxmemory-policy" "noeviction"]`, "CONFIG GET maxmemory maxmemory-policy")
	expect(t, n, ":200", "DBSIZE")
	if info := dialTalker(t, n).say("INFO", "stats"); !strings.Contains(info, "\nevicted_keys:0\r\n") {
		t.Errorf("it has evicted: %s", info)
	}
}

// Client commands and the reconciler apply settings concurrently: an older topology that arrives late changes nothing.
func TestClusterSettingsOfAnOlderTopology(t *testing.T) {
	t.Parallel()
	n := openNode(t, "--timeout", "60")
	old := n.cluster.Topology()
	expect(t, n, "+OK", "CLUSTER CONFIG SET timeout 5")
	n.effective.applyCluster(old)
	expect(t, n, `["timeout" "5"]`, "CONFIG GET timeout")
	expect(t, n, `["timeout" "5"]`, "CLUSTER CONFIG GET *")
}

// A recovery undoes some settings of the cluster: they no longer apply, and neither do the decisions about them.
func TestRecoveryUndoesClusterSettings(t *testing.T) {
	t.Parallel()
	n := openNode(t, "--timeout", "60")
	expect(t, n, "+OK", "CLUSTER CONFIG SET maxclients 50")
	before := n.cluster.Topology()
	errs, err := n.cluster.Propose(t.Context(), topology.Command{Ops: []topology.Op{
		{Kind: topology.ConfigSet, Name: "of-later", Value: "1"}, {Kind: topology.ConfigSet, Name: "timeout", Value: "5"},
	}})
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	awaitSetting(t, []*Node{n}, "timeout", "5")
	expect(t, n, "+OK", "CONFIG SET timeout 6")
	n.effective.applyCluster(before.Recovered(n.cluster.Topology().Index+topology.RecoveryGap, topology.RecoveryGap))
	expect(t, n, `["timeout" "60"]`, "CONFIG GET timeout")
	expect(t, n, `["maxclients" "50"]`, "CLUSTER CONFIG GET *")
	wantInfo(t, n, "cluster_settings:1", "cluster_settings_refused:", "cluster_settings_overridden:")
}
