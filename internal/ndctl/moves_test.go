package ndctl

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/view"
)

func TestMoves(t *testing.T) {
	t.Parallel()
	n := &movingNode{steps: twoStepsToN3()[:1]}
	n.steps[0].moves.Paused, n.steps[0].moves.Silent = true, ids("bb")
	n.steps[0].moves.Moves = append(n.steps[0].moves.Moves, view.Move{Shard: 3, State: view.MoveEnding, To: "aa", Bytes: -1, Done: mib})
	env := n.env(t)
	const want = `2 copies on the way, 1 waiting; 513.0 MiB of 3.0 GiB sent; moves are paused (ndctl moves resume)
unknown how far these nodes are: n2

SHARD  STATE    FROM  TO  REPLACES       SENT     SIZE  WAITS FOR
    1  copying  n1    n3  n2        512.0 MiB  2.0 GiB
    2  waiting  n2    n3  n1              0 B  1.0 GiB  2 copies are on their way to n3
    3  ending   -     n1  -           1.0 MiB        -
`
	if r := runWith(t, env, "", "moves"); r.code != 0 || r.out != want || r.err != "" {
		t.Errorf("%+v", r)
	}
	var report movesReport
	r := runWith(t, env, "", "moves", "--json", "--watch")
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 0 || !report.Paused || report.Copying != 1 || report.Waiting != 1 || report.Ending != 1 || report.Silent[0] != "n2" {
		t.Errorf("%v %+v", err, r)
	}
	if m := report.Moves; m[0].From != "n1" || m[0].To != "n3" || m[0].Replaces != "n2" || *m[0].Bytes != 2*gib || m[0].Sent != gib/2 || m[2].Bytes != nil || m[1].Waits == "" {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, env, "", "status"); !matches(r.out, "note       moves are paused: ndctl moves resume\n", "note       2 copies on the way to other nodes, 1 waiting (ndctl moves)\n") {
		t.Errorf("%+v", r)
	}
	n = &movingNode{}
	if r := runWith(t, n.env(t), "", "moves"); r.code != 0 || r.out != "no copy is on its way\n" {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, n.env(t), "", "status"); matches(r.out, "note") {
		t.Errorf("%+v", r)
	}
}

// moves --watch shows each answer with the rate, until Ctrl-C.
func TestWatchMoves(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n := &movingNode{steps: twoStepsToN3()}
	for shard := range 30 {
		n.steps[0].moves.Moves = append(n.steps[0].moves.Moves, view.Move{Shard: shard, State: view.MoveWaiting, To: "aa"})
	}
	looks := 0
	n.heard = func(line string) {
		if line == "CLUSTER MOVES" {
			if looks++; looks == 4 {
				cancel()
			}
		}
	}
	var out, err bytes.Buffer
	code := newApp("ndctl", "1", strings.NewReader(""), &out, &err, lookup(n.env(t))).run(ctx, []string{"moves", "--watch", "--interval", "20ms"})
	if code != 0 || !matches(out.String(), "... and 12 more\n", "] since this began: 0 of 32 copies, 512.0 MiB of 3.0 GiB\n", "] since this began: 31 of 32 copies, 2.2 GiB of 3.0 GiB, ", "GiB/s",
		"no copy is on its way\n[################] since this began: 32 of 32 copies, 3.0 GiB of 3.0 GiB\n") || err.String() != "" {
		t.Errorf("%d %s%s", code, &out, &err)
	}
}

func TestOrdersAboutMoves(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, order, out string }{
		{"moves pause", "CLUSTER MOVES PAUSE", "moves are paused: none begins until ndctl moves resume; those under way go on\n"},
		{"moves resume", "CLUSTER MOVES RESUME", "moves may begin\n"},
		{"moves cancel", "CLUSTER MOVES CANCEL", "1 move was cancelled\n"},
		{"moves cancel 3 01", "CLUSTER MOVES CANCEL SHARD 3 SHARD 1", "3 moves were cancelled\n"},
		{"moves cancel 3 --json", "CLUSTER MOVES CANCEL SHARD 3", "{\n  \"cancelled\": 2\n}\n"},
		{"undrain n3", "CLUSTER UNDRAIN cc", "n3 may have copies again\n"},
	} {
		n := &movingNode{}
		if r := runWith(t, n.env(t), "", strings.Fields(tc.args)...); r.code != 0 || r.out != tc.out || n.ordered() != tc.order {
			t.Errorf("%s orders %q: %+v", tc.args, n.ordered(), r)
		}
		n = &movingNode{refusal: "ERR no"}
		if r := runWith(t, n.env(t), "", strings.Fields(tc.args)...); r.code != exitFailure || r.out != "" || !matches(r.err, "ndctl: n1 (", "): ERR no\n") {
			t.Errorf("%s refused: %+v", tc.args, r)
		}
	}
}

// nodes shows which nodes are drained, and weights if they differ.
func TestDrainedNodes(t *testing.T) {
	t.Parallel()
	answer := func(old, with string) map[string]string {
		n := &movingNode{}
		return map[string]string{"NDRING_ADDR": fakeServer(t, func(args []string) any {
			reply := n.answer(args)
			if text, ok := reply.(string); ok {
				return strings.Replace(text, old, with, 1)
			}
			return reply
		})}
	}
	env := answer(`"name":"n1"`, `"name":"n1","draining":true`)
	if r := runWith(t, env, "", "nodes"); !matches(r.out, " draining ", "!WEIGHT") {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, env, "", "nodes", "--json"); !matches(r.out, `"state": "draining"`, `"weight": 100`) {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, answer(`"name":"n1"`, `"name":"n1","draining":true,"leaving":true`), "", "nodes"); !matches(r.out, " leaving ", "!draining") {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, answer(`"weight":100`, `"weight":250`), "", "nodes"); !matches(r.out, "WEIGHT\n", "   250\n", "   100\n") {
		t.Errorf("%+v", r)
	}
}

// The shell completes the nodes of each new command and flag.
func TestCompletionOfMoves(t *testing.T) {
	t.Parallel()
	n := &movingNode{}
	env := n.env(t)
	for _, args := range []string{"drain ", "undrain ", "replace ", "replace n1 --with ", "move 1 --to ", "move 1 --from "} {
		if r := runWith(t, env, "", strings.Split("__complete "+args, " ")...); !matches(r.out, "n1", "n2", "n3", "n4") {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := runWith(t, env, "", "__complete", "drain", "n1", ""); matches(r.out, "n2") {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, env, "", "moves", "--help"); !matches(r.out, "Usage:\n  ndctl moves [flags]\n  ndctl moves [command]\n", "--watch", "pause") {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, env, "", "raft", "--help"); !matches(r.out, "Usage:\n  ndctl raft [command]\n") {
		t.Errorf("%+v", r)
	}
}
