package ndctl

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

func TestTextsForPeople(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ got, want string }{
		{bytesText(0), "0 B"}, {bytesText(1023), "1023 B"}, {bytesText(1024), "1.0 KiB"}, {bytesText(1 << 40), "1.0 TiB"}, {bytesText(3 << 30), "3.0 GiB"},
		{view.Duration(0), "0s"}, {view.Duration(61 * time.Second), "1m1s"}, {view.Duration(3*time.Hour + 4*time.Minute), "3h4m"}, {view.Duration(49 * time.Hour), "2d1h"},
		{ttlText(999 * time.Millisecond), "999 ms"}, {ttlText(time.Second), "1s"},
		{plural(1, "key"), "1 key"}, {plural(0, "key"), "0 keys"},
		{shapeText([]int64{}), "()"}, {shapeText([]int64{3}), "(3,)"}, {shapeText([]int64{2, 3}), "(2, 3)"},
		{slotsText(5, 5), "5"}, {slotsText(5, 9), "5-9"},
		{view.OneLine("a\nb\x1b[31m"), "a b [31m"},
		{quoted([]string{"SET", "a b", "", "\xff"}), `SET "a b" "" "\xff"`},
		{shortKey(strings.Repeat("k", 30), 10), `"kkkkkk...`},
		{withoutPassword("redis://u:p@h:1/2"), "redis://...@h:1/2"}, {withoutPassword("nothing"), "nothing"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := newTable("NAME", "KEYS", "WHERE")
	table.add(text("a"), number(5), tinted(red, "here"))
	table.add(text("größer"), unknown, text(""))
	var plainly, colourful bytes.Buffer
	table.write(&plainly, func(_ colour, s string) string { return s })
	if want := "NAME    KEYS  WHERE\na          5  here\ngrößer     -\n"; plainly.String() != want {
		t.Errorf("\n%s want\n%s", &plainly, want)
	}
	table.write(&colourful, func(c colour, s string) string { return string(c) + s })
	if want := "1NAME    1KEYS  1WHERE\na          5  31here\ngrößer     -\n"; colourful.String() != want {
		t.Errorf("colours change the widths:\n%s want\n%s", &colourful, want)
	}
}

// A node that refuses INFO with an empty error is down, and the cluster is not healthy.
func TestFailureWithoutText(t *testing.T) {
	t.Parallel()
	c := &view.Cluster{Self: "a", Leader: "a", Voters: []topology.NodeID{"a"}, Quorum: true, Nodes: []view.Node{{ID: "a", Up: true}}}
	m := &member{Node: &c.Nodes[0]}
	r := newStatusReport(&session{cluster: c, members: []*member{m}}, make([]info, 1), nodeFailures{{m, errors.New("")}}, time.Now())
	if r.Healthy || r.NodesUp != 0 || len(r.NodesDown) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	before := info{"run_id": "a", "server_time_usec": "1000000", "uptime_in_seconds": "10", "total_commands_processed": "100", "total_net_input_bytes": "0", "total_net_output_bytes": "50",
		"keyspace_hits": "10", "keyspace_misses": "10"}
	after := info{"run_id": "a", "server_time_usec": "3000000", "uptime_in_seconds": "12", "total_commands_processed": "500", "total_net_input_bytes": "2048", "total_net_output_bytes": "50",
		"keyspace_hits": "13", "keyspace_misses": "11", "used_memory": "7", "db0": "keys=5,expires=0,avg_ttl=0", "connected_clients": "2"}
	r := newLoadReport("n", before, after, nil)
	if *r.Ops != 200 || *r.In != 1024 || *r.Out != 0 || *r.Hits != 0.75 || *r.Keys != 5 || *r.Memory != 7 || *r.Clients != 2 {
		t.Errorf("%v %v %v %v", *r.Ops, *r.In, *r.Out, *r.Hits)
	}
	again := info{"run_id": "a", "server_time_usec": "3000000", "uptime_in_seconds": "1", "total_commands_processed": "3"}
	if r := newLoadReport("n", before, again, nil); *r.Ops != 0 || r.Hits != nil {
		t.Errorf("a restarted node: %v", *r.Ops)
	}
	if r := newLoadReport("n", before, nil, errors.New("gone")); r.Ops != nil || r.Error != "gone" || r.state != "down" {
		t.Errorf("a node that does not answer: %+v", r)
	}
}

func TestRowsOfClusterSlots(t *testing.T) {
	t.Parallel()
	node := func(host any, port int64) []any { return []any{host, port, "id", []any{}} }
	for _, tc := range []struct {
		row   any
		slots int
		addr  string
	}{
		{[]any{int64(0), int64(99), node("10.0.0.1", 6379), node("10.0.0.2", 6379)}, 100, "10.0.0.1:6379"},
		{[]any{int64(5), int64(5), node("fd00::1", 1)}, 1, "[fd00::1]:1"},
		{[]any{int64(5), int64(6), node("", 2)}, 2, "asked:2"},
		{[]any{int64(5), int64(6), node(nil, 2)}, 2, "asked:2"},
		{[]any{int64(5), int64(6)}, 0, ""},
		{[]any{int64(5), int64(6), []any{}}, 0, ""},
		{"nonsense", 0, ""},
	} {
		if slots, addr := primaryOf(tc.row, "asked"); slots != tc.slots || addr != tc.addr {
			t.Errorf("%v: %d slots at %q", tc.row, slots, addr)
		}
	}
}

func TestProblemsThatANodeReports(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"cluster_waiting_for:\r\nloading:0\r\ncluster_settings_refused:\r\naof_last_write_status:ok\r\n": "",
		"cluster_settings_refused:maxclients,save\r\n":                                                   "n cannot apply settings of the cluster (maxclients,save) and keeps its own: see its log",
		"loading:1\r\ndisk_full:1\r\n":                                                                   "n is still reading its shards from disk; n has a full disk (disk-reserve) and refuses writes",
		"cluster_waiting_for:a leader\r\n":                                                               "n waits for a leader",
		"disk_stopped_shards:2\r\n":                                                                      "n has 2 shards read-only because their disk failed: restart it when the disk works again",
	} {
		if got := strings.Join(reportedProblems(text), "; "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// reportedProblems returns the verdict on a cluster whose only node n answers INFO with a text.
func reportedProblems(text string) []string {
	c := &view.Cluster{Self: "aa", Leader: "aa", Quorum: true, Nodes: []view.Node{{ID: "aa", Name: "n", Up: true}}}
	return c.Health([]view.Report{parseInfo(text).report("")}, time.Now()).Problems
}

func TestConfirmation(t *testing.T) {
	t.Parallel()
	for answer, done := range map[string]bool{"y\n": true, "YES\n": true, " yes": true, "n\n": false, "\n": false, "": false, "yeah\n": false} {
		var out bytes.Buffer
		p := &prompt{in: strings.NewReader(answer), err: &out}
		if err := p.ask("Do it?"); (err == nil) != done || out.String() != "Do it? [y/N] " {
			t.Errorf("%q: %v %s", answer, err, &out)
		}
	}
}

// Help and errors use the name by which the program was called.
func TestCalledAsCtl(t *testing.T) {
	t.Parallel()
	var out, said bytes.Buffer
	a := newApp("ndring ctl", "1", strings.NewReader(""), &out, &said, lookup(nil))
	if code := a.run(t.Context(), []string{"raft", "recover"}); code != exitUsage || said.String() != "ndring ctl: raft recover needs --dir FOLDER\nTry 'ndring ctl raft recover --help'\n" {
		t.Errorf("%d %s", code, &said)
	}
	if code := a.run(t.Context(), []string{"get", "--help"}); code != exitOK || !matches(out.String(), "Usage:\n  ndring ctl get KEY [flags]\n") {
		t.Errorf("%d %s", code, &out)
	}
}

func TestRedirectAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"MOVED 5 10.0.0.1:7379": "10.0.0.1:7379", "MOVED 5 fd00::3:7379": "[fd00::3]:7379", "MOVED 5 node1:1": "node1:1", "MOVED 5 x": "", "MOVED 5": "", "MOVED 5 :1": ""} {
		if got, _ := redirectAddress(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
