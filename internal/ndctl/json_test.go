package ndctl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/redcon"
)

// Scripts rely on the JSON, so every report stays byte for byte as in testdata/json.golden.
func TestJSONOfEveryReport(t *testing.T) {
	t.Parallel()
	addr := fakeServer(t, scriptedNode)
	source := scriptedSource(t, []string{"a"}, func(string, string) any { return redcon.SimpleInt(-1) })
	var b strings.Builder
	for _, args := range []string{
		"status", "nodes", "shards", "slots", "top --interval 5ms", "slowlog", "bigkeys", "slot k", "where k", "where none", "config get max*", "config get max* --cluster",
		"raft status", "version", "import " + source + " --dry-run",
	} {
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", append(strings.Fields(args), "--json")...)
		if r.code != 0 || r.err != "" {
			t.Errorf("ndctl %s: %+v", args, r)
		}
		name, _, _ := strings.Cut(args, " redis:")
		b.WriteString("$ ndctl " + name + "\n" + strings.ReplaceAll(r.out, addr, "ADDRESS"))
	}
	for _, report := range []any{
		recoverReport{Backup: "b"}, rejoinReport{Kept: "k"}, planReport{Moves: []plannedMoveReport{{}}, Nodes: []plannedNodeReport{{}}, Problems: []string{}},
		movesReport{Silent: []string{}, Moves: []moveReport{{Waits: "w"}}}, cancelReport{}, hotShardReports{{}}, failoverReport{Shards: []failoverShardReport{{}}, Problems: []string{}},
	} {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(string(text) + "\n")
	}
	want, err := os.ReadFile(filepath.Join("testdata", "json.golden"))
	if err != nil || b.String() != string(want) {
		t.Errorf("the JSON has changed (%v); it is now:\n%s", err, &b)
	}
}

// scriptedNode is the only node of a cluster of four shards; its answers never change.
func scriptedNode(args []string) any {
	switch line := strings.ToUpper(strings.Join(args, " ")); {
	case line == "CLUSTER TOPOLOGY":
		return `{"cluster":"c1","index":7,"term":3,"self":"aa","leader":"aa","voters":["aa"],"quorum":true,"nodes":[{"id":"aa","name":"n1","zone":"z","incarnation":1,"up":true,"since":5}],` +
			`"shards":[{"epoch":1,"primary":"aa","in_sync":["aa","bb"],"assigned":["aa","bb"]},{"epoch":2,"primary":"aa","in_sync":["aa"]},{"epoch":3,"primary":"aa","in_sync":["aa"]},{"epoch":4,"primary":"aa","in_sync":["aa"]}]}`
	case line == "CLUSTER INFO":
		return "cluster_term:3\r\ncluster_applied_index:7\r\ncluster_quorum:1\r\ncluster_leader:aa\r\ncluster_proposals:9\r\ncluster_proposals_failed:1\r\n"
	case strings.HasPrefix(line, "INFO"):
		return "ndring_version:1\r\nrun_id:r\r\nserver_time_usec:5\r\nuptime_in_seconds:6\r\nused_memory:100\r\nmaxmemory:200\r\nconnected_clients:2\r\ndb0:keys=3,expires=0\r\n"
	case strings.HasPrefix(line, "CLUSTER SLOT-STATS"):
		return []any{[]any{redcon.SimpleInt(5), []any{"key-count", redcon.SimpleInt(3), "memory-bytes", redcon.SimpleInt(90)}}}
	case strings.HasPrefix(line, "SLOWLOG"):
		return []any{[]any{redcon.SimpleInt(4), redcon.SimpleInt(1_700_000_000), redcon.SimpleInt(15), []any{"GET", "k"}, "127.0.0.1:5", "me"}}
	case strings.HasPrefix(line, "SCAN"):
		return []any{"0", []any{"k"}}
	case strings.HasPrefix(line, "MEMORY USAGE"):
		return redcon.SimpleInt(90)
	case line == "NP.META K":
		return []any{"shape", []any{redcon.SimpleInt(2), redcon.SimpleInt(3)}, "dtype", "<f8", "nbytes", redcon.SimpleInt(48), "pttl", redcon.SimpleInt(-1), "version", "1-2"}
	case strings.HasPrefix(line, "NP.META"):
		return nil
	case strings.HasPrefix(line, "EXISTS"):
		return redcon.SimpleInt(0)
	case strings.HasPrefix(line, "CONFIG GET"), strings.HasPrefix(line, "CLUSTER CONFIG GET"):
		return []any{"maxclients", "10000", "maxmemory", "200"}
	}
	return errText("ERR unknown command '" + args[0] + "'")
}
