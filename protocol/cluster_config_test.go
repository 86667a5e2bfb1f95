package protocol

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

// Errors in the command are reported at once. Whether the settings are valid is up to the node.
func TestClusterConfig(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	asked := make(chan string, 1)
	decides := func(outcome error) {
		s.view.Store(&fakeCluster{
			settings: []Setting{{"max-array-bytes", "1024"}, {"save", ""}, {"timeout", "5"}},
			status:   ClusterStatus{SettingsOverridden: []string{"save", "timeout"}, SettingsRefused: []string{"of\nlater"}},
			change:   func(_ context.Context, changes []Setting) error { asked <- fmt.Sprint(changes); return outcome },
			reset:    func(_ context.Context, names []string) error { asked <- fmt.Sprint(names); return outcome },
		})
	}
	decides(nil)
	c.talk([]exchange{
		{"CLUSTER CONFIG GET *", `["max-array-bytes" "1024" "save" "" "timeout" "5"]`},
		{"CLUSTER CONFIG GET TIME[o]ut s* nosuch", `["save" "" "timeout" "5"]`},
		{"CLUSTER CONFIG GET TIMEOUT", `["TIMEOUT" "5"]`},
		{"CLUSTER CONFIG GET maxclients", `[]`},
		{"CLUSTER CONFIG GET", `-ERR wrong number of arguments for 'cluster|config' command`},
		{"CLUSTER CONFIG SET timeout", `-ERR wrong number of arguments for 'cluster|config' command`},
		{"CLUSTER CONFIG SET timeout 5 save", `-ERR syntax error`},
		{"CLUSTER CONFIG RESET", `-ERR wrong number of arguments for 'cluster|config' command`},
		{"CLUSTER CONFIG REWRITE now", `-ERR unknown subcommand 'REWRITE'. Try CLUSTER HELP.`},
		{"MULTI", `+OK`}, {"CLUSTER CONFIG SET timeout 5", `-ERR Command not allowed inside a transaction`}, {"DISCARD", `+OK`},
	})
	c.want(`-TOOLARGE too large: an argument of 65537 bytes, the limit here is 65536`, "CLUSTER", "CONFIG", "SET", "save", strings.Repeat("9", 64<<10+1)) // all nodes would store it
	c.do("HELLO", "3")
	c.want(`{"save" "" "timeout" "5"}`, "CLUSTER", "CONFIG", "GET", "save", "timeout")
	c.do("HELLO", "2")
	c.lines("CLUSTER INFO", "cluster_settings:3", "cluster_settings_overridden:save,timeout", "cluster_settings_refused:of later")
	if len(asked) > 0 {
		t.Fatalf("%s was proposed", <-asked)
	}
	for _, tc := range []struct{ command, asks string }{
		{"CLUSTER config set Timeout 5 LOG-level Debug", "[{timeout 5} {log-level Debug}]"},
		{"cluster CONFIG reset TIMEOUT save", "[timeout save]"},
	} {
		for outcome, reply := range map[error]string{
			nil:                              `+OK`,
			errors.New("the leader is gone"): `-ERR the leader is gone`,
			&SettingError{Name: "timeout", Reason: "argument x"}:         `-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument x`,
			&SettingError{Name: "timeout"}:                               `-ERR Unknown option or number of arguments for CONFIG SET - 'timeout'`,
			&SettingError{Name: "timeout", Reason: "never", Reset: true}: `-ERR CLUSTER CONFIG RESET failed (possibly related to argument 'timeout') - never`,
			&SettingError{Name: "timeout", Reset: true}:                  `-ERR Unknown option or number of arguments for CLUSTER CONFIG RESET - 'timeout'`,
			fmt.Errorf("%w: no answer", ErrUncertain):                    `-UNCERTAIN the outcome is unknown: no answer`,
		} {
			decides(outcome)
			c.talk([]exchange{{tc.command, reply}})
			if got := receive(t, "what is proposed", asked); got != tc.asks {
				t.Errorf("%s proposes %s", tc.command, got)
			}
		}
	}
}

func TestClusterConfigNeedsAMember(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	s.view.Store(&fakeCluster{status: ClusterStatus{Waiting: "its end"}})
	for _, topo := range []*topology.Topology{{}, threeNodes()} {
		if len(topo.Nodes) > 0 {
			topo.Nodes = topo.Nodes[1:]
			topo.Shards = nil
		}
		s.topo.Store(topo)
		c.want(`-CLUSTERDOWN this node is not part of a cluster yet: its end`, "CLUSTER", "CONFIG", "SET", "timeout", "5")
		c.want(`-CLUSTERDOWN this node is not part of a cluster yet: its end`, "CLUSTER", "CONFIG", "RESET", "timeout")
		c.want(`[]`, "CLUSTER", "CONFIG", "GET", "*")
	}
}
