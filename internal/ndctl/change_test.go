package ndctl

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/view"
)

const twoToN3Text = `NODE  COPIES  PRIMARIES       IN      OUT      ROOM
n1    4 -> 3          2      0 B  1.0 GiB   5.0 GiB
n2    4 -> 3     2 -> 1      0 B  2.0 GiB         -
n3    0 -> 2     0 -> 1  3.0 GiB      0 B  no limit

2 copies, 3.0 GiB, to 1 node; 1 shard gets another primary
`

// Each command that moves copies shows its plan, asks, and orders what it showed.
func TestChanges(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, request, question string }{
		{"rebalance", "CLUSTER REBALANCE", "Move these copies?"},
		{"move 1 --to n3", "CLUSTER MOVE SHARD 1 TO cc", "Move a copy of shard 1 to n3?"},
		{"move 1 --to n3 --from n2", "CLUSTER MOVE SHARD 1 TO cc FROM bb", "Move a copy of shard 1 to n3?"},
		{"move 1 --to n3 --from n4", "CLUSTER MOVE SHARD 1 TO cc FROM dd", "Move a copy of shard 1 to n3?"},
		{"drain n2", "CLUSTER DRAIN bb", "Move all copies off n2?"},
		{"drain n4", "CLUSTER DRAIN dd", "Move all copies off n4?"},
		{"replace n2 --with n3", "CLUSTER REPLACE bb WITH cc", "Move all copies of n2 to n3?"},
		{"replace n4 --with n3", "CLUSTER REPLACE dd WITH cc", "Move all copies of n4 to n3?"},
	} {
		args := strings.Fields(tc.args)
		run := func(more ...string) (*movingNode, result) {
			n := &movingNode{plan: twoToN3()}
			return n, runWith(t, n.env(t), "", append(args, more...)...)
		}
		n, r := run("--plan")
		if r.code != 0 || r.out != twoToN3Text || r.err != "" || n.ordered() != "" || n.planned() != tc.request {
			t.Errorf("%s --plan asks for %q and orders %q: %+v", tc.args, n.planned(), n.ordered(), r)
		}
		n, r = run()
		if r.code != exitUsage || r.out != twoToN3Text || !matches(r.err, "ndctl: "+tc.question+"\nThere is no terminal", "give --yes") || n.ordered() != "" {
			t.Errorf("%s orders %q: %+v", tc.args, n.ordered(), r)
		}
		n, r = run("--yes")
		if r.code != 0 || r.out != twoToN3Text+"started; ndctl moves shows how far it is\n" || r.err != "" || n.ordered() != tc.request+" AT 41" {
			t.Errorf("%s --yes orders %q: %+v", tc.args, n.ordered(), r)
		}
		n, r = run("--yes", "--json")
		var report planReport
		if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 0 || !report.Started || report.Done || report.Base != 41 || n.ordered() != tc.request+" AT 41" {
			t.Errorf("%s --yes --json: %v %+v", tc.args, err, r)
		}
		n, r = run("--json")
		if r.code != exitUsage || r.out != "" || !matches(r.err, "2 copies, 3.0 GiB, to 1 node; 1 shard gets another primary\n"+tc.question) || n.ordered() != "" {
			t.Errorf("%s --json: %+v", tc.args, r)
		}
	}
}

// A plan with problems is shown and not carried out.
func TestPlanWithProblems(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"rebalance --yes", "drain n2 --plan", "replace n2 --with n3 --yes --json", "leave n1 --yes", "move 1 --to n3"} {
		n := &movingNode{plan: twoToN3()}
		n.plan.Problems = []string{"n3 has no room\x1b for 3 GiB"}
		r := runWith(t, n.env(t), "", strings.Fields(args)...)
		if r.code != exitFailure || r.err != "" || n.ordered() != "" {
			t.Errorf("%s: %q %+v", args, n.ordered(), r)
		}
		if strings.Contains(args, "--json") {
			if !matches(r.out, `"problems": [`, `"started": false`) {
				t.Errorf("%s: %+v", args, r)
			}
		} else if r.out != twoToN3Text+"problem: n3 has no room  for 3 GiB\n" {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// What the command line says wrong, and what the cluster refuses.
func TestChangesRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string
		code int
		err  string
	}{
		{"move 1", exitUsage, "move needs --to NODE"},
		{"move --to n3", exitUsage, "move takes SHARD --to NODE, not 0 arguments"},
		{"move x --to n3", exitUsage, `"x" is not the number of a shard`},
		{"move 4 --to n3", exitFailure, "there is no shard 4: the cluster has 4 shards"},
		{"move 1 --to n9", exitFailure, `unknown node "n9"; the nodes are n1 (aa), n2 (bb), n3 (cc), n4 (dd)`},
		{"move 1 --to n", exitFailure, `"n" is ambiguous`},
		{"move 1 --to n3 --from n9", exitFailure, `unknown node "n9"`},
		{"move 1 --to n3 --from cc", exitUsage, "--from and --to are the same node, n3"},
		{"move 1 --to n4", exitFailure, "n4 is down, as n1 sees it: it can get no copies"},
		{"drain", exitUsage, "drain takes NODE, not 0 arguments"},
		{"drain n9", exitFailure, `unknown node "n9"`},
		{"undrain n9", exitFailure, `unknown node "n9"`},
		{"undrain", exitUsage, "undrain takes NODE, not 0 arguments"},
		{"replace n2", exitUsage, "replace needs --with NODE"},
		{"replace n9 --with n3", exitFailure, `unknown node "n9"`},
		{"replace n2 --with n9", exitFailure, `unknown node "n9"`},
		{"replace n2 --with n4", exitFailure, "n4 is down"},
		{"replace n3 --with cc", exitUsage, "a node cannot replace itself: both are n3"},
		{"rebalance now", exitUsage, "rebalance takes no arguments, not 1 argument"},
		{"rebalance --wait-timeout 0s", exitUsage, "--wait-timeout must be positive"},
		{"rebalance --yes --to n3", exitUsage, "unknown flag: --to"},
		{"moves now", exitUsage, `unknown command "moves now"`},
		{"moves cancel x", exitUsage, `"x" is not the number of a shard`},
		{"moves cancel 4", exitFailure, "there is no shard 4"},
		{"moves --watch --interval 0s", exitUsage, "--interval must be at least 1ms"},
	} {
		n := &movingNode{plan: twoToN3()}
		if r := runWith(t, n.env(t), "", strings.Fields(tc.args)...); r.code != tc.code || r.out != "" || !matches(r.err, "ndctl: "+tc.err) || len(n.orders) > 0 {
			t.Errorf("ndctl %s: %q %+v", tc.args, n.orders, r)
		}
	}
	n := &movingNode{plan: twoToN3(), refusal: "ERR n3 has no room"}
	if r := runWith(t, n.env(t), "", "rebalance", "--yes"); r.code != exitFailure || !matches(r.err, "ndctl: n1 (", "): ERR n3 has no room\n", "!has changed") {
		t.Errorf("refused: %+v", r)
	}
	n = &movingNode{plan: twoToN3(), refusal: "NOPERM this user has no permissions"}
	if r := runWith(t, n.env(t), "", "drain", "n2", "--yes"); r.code != exitRights {
		t.Errorf("without rights: %+v", r)
	}
	n = &movingNode{plan: twoToN3(), refusal: "UNCERTAIN not decided"}
	if r := runWith(t, n.env(t), "", "drain", "n2", "--yes"); r.code != exitFailure || !matches(r.err, "may have been made, or may still be made; check ndctl moves") {
		t.Errorf("uncertain: %+v", r)
	}
}

// A plan that is no longer of the present placement is not carried out, whatever words the node refuses it with.
func TestStalePlan(t *testing.T) {
	t.Parallel()
	for args, again := range map[string]string{
		"rebalance": "ndctl rebalance --plan", "move 01 --to cc --from bb": "ndctl move 1 --from n2 --to n3 --plan", "drain bb": "ndctl drain n2 --plan", "replace bb --with cc": "ndctl replace n2 --with n3 --plan",
	} {
		n := &movingNode{plan: twoToN3(), refusal: "ERR refused: it is another one", stale: true}
		r := runWith(t, n.env(t), "", append(strings.Fields(args), "--yes")...)
		if r.code != exitFailure || r.err != "ndctl: the placement has changed since the plan was made, so nothing was changed. Look again: "+again+"\n" {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// A rebalance that changes nothing is not ordered.
func TestNothingToRebalance(t *testing.T) {
	t.Parallel()
	n := &movingNode{plan: view.Plan{Base: 41}}
	if r := runWith(t, n.env(t), "", "rebalance"); r.code != 0 || r.out != "no copy moves, and no shard gets another primary\n" || n.ordered() != "" {
		t.Errorf("%q %+v", n.ordered(), r)
	}
	if r := runWith(t, n.env(t), "", "drain", "n3", "--yes"); r.code != 0 || n.ordered() != "CLUSTER DRAIN cc AT 41" {
		t.Errorf("a node without copies is drained all the same: %q %+v", n.ordered(), r)
	}
}

// --wait returns when the copies are made and the primaries have changed.
func TestWaitForMoves(t *testing.T) {
	t.Parallel()
	n := &movingNode{plan: twoToN3(), steps: twoStepsToN3()}
	r := runWith(t, n.env(t), "", "drain", "n2", "--yes", "--wait")
	if r.code != 0 || r.out != twoToN3Text+"n2 has no copies any more, and gets none until ndctl undrain n2\n" || r.err != "" || n.at != 3 {
		t.Errorf("%d looks: %+v", n.at, r)
	}
	n = &movingNode{plan: twoToN3(), steps: twoStepsToN3()}
	var report planReport
	r = runWith(t, n.env(t), "", "rebalance", "--yes", "--wait", "--json")
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 0 || !report.Started || !report.Done || len(report.Moves) != 2 || report.Moves[0].From != "n2" || report.Moves[0].ToID != "cc" {
		t.Errorf("%v %+v", err, r)
	}
	// The node that is asked first does not know the new placement yet.
	n = &movingNode{plan: twoToN3(), steps: append([]movingStep{{view.Moves{}, restingShards()}}, twoStepsToN3()...)}
	if r := runWith(t, n.env(t), "", "drain", "n2", "--yes", "--wait"); r.code != 0 || n.at != 4 {
		t.Errorf("%d looks: %+v", n.at, r)
	}
	// The copies are made, but the primary has not changed.
	n = &movingNode{plan: twoToN3(), steps: twoStepsToN3()}
	n.steps[2].shards[2].Primary = "bb"
	r = runWith(t, n.env(t), "", "rebalance", "--yes", "--wait", "--wait-timeout", "900ms")
	if r.code != exitFailure || !matches(r.err, "ndctl: not finished within 900ms: 2 of 2 copies, 3.0 GiB of 3.0 GiB, 0 of 1 primary; the moves go on; ndctl moves shows them\n") {
		t.Errorf("%+v", r)
	}
}

// A wait that ends early says what holds the moves up, and writes its JSON all the same.
func TestWaitEndsEarly(t *testing.T) {
	t.Parallel()
	paused := twoStepsToN3()[:1]
	paused[0].moves.Moves = paused[0].moves.Moves[1:]
	n := &movingNode{plan: twoToN3(), steps: paused}
	r := runWith(t, n.env(t), "", "rebalance", "--yes", "--wait", "--wait-timeout", "1ms", "--json")
	if r.code != exitFailure || !matches(r.err, "shard 2 waits: 2 copies are on their way to n3") || !matches(r.out, `"started": true`, `"done": false`) {
		t.Errorf("%+v", r)
	}
	n = &movingNode{plan: twoToN3(), steps: paused}
	n.steps[0].moves.Paused = true
	if r := runWith(t, n.env(t), "", "rebalance", "--yes", "--wait", "--wait-timeout", "1ms"); r.code != exitFailure || !matches(r.err, "moves are paused: ndctl moves resume") {
		t.Errorf("%+v", r)
	}
	// Another placement takes the second copy back.
	n = &movingNode{plan: twoToN3(), steps: twoStepsToN3()}
	n.steps[2].shards[2] = row("bb", "aa")
	if r := runWith(t, n.env(t), "", "rebalance", "--yes", "--wait"); r.code != exitFailure || !matches(r.err, "ndctl: 1 of 2 copies were cancelled, or replaced by another plan\n") {
		t.Errorf("%+v", r)
	}
}

// Ctrl-C ends the wait and not the moves.
func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"rebalance --yes --wait": "ndctl: interrupted: the moves go on; ndctl moves shows them\n",
		"leave n2 --yes --wait":  "ndctl: interrupted: n2 continues to leave; ndctl moves shows how far it is\n",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		looks := 0
		n := &movingNode{plan: twoToN3(), steps: twoStepsToN3()[:1], started: true, n2: fakeServer(t, leaveAnswer)}
		n.heard = func(line string) { // commands arrive one after the other
			if line == "CLUSTER MOVES" {
				if looks++; looks == 2 {
					cancel()
				}
			}
		}
		var out, err bytes.Buffer
		code := newApp("ndctl", "1", strings.NewReader(""), &out, &err, lookup(n.env(t))).run(ctx, strings.Fields(args))
		if code != exitFailure || err.String() != want || looks != 2 {
			t.Errorf("%s: exit code %d after %d looks: %s%s", args, code, looks, &out, &err)
		}
	}
}

// A drain whose copies an earlier drain has begun to move waits for these.
func TestWaitForAnEarlierDrain(t *testing.T) {
	t.Parallel()
	n := &movingNode{plan: view.Plan{Base: 41}, steps: twoStepsToN3()}
	got, code := onTerminal(t, n.env(t), "", "drain", "n2", "--yes", "--wait")
	if code != 0 || !matches(got, "no copy moves", "0 of 1 copy, 512.0 MiB of 2.0 GiB", "n2 has no copies any more") || n.at != len(n.steps) {
		t.Errorf("%d %q after %d steps", code, got, n.at)
	}
}

// leave --wait shows how far the copies are until the node has left.
func TestWaitForANodeThatLeaves(t *testing.T) {
	t.Parallel()
	n := &movingNode{plan: twoToN3(), steps: twoStepsToN3(), started: true, leaves: true, n2: fakeServer(t, leaveAnswer)}
	got, code := onTerminal(t, n.env(t), "", "leave", "n2", "--yes", "--wait")
	if code != 0 || !matches(got, "0 of 2 copies, 512.0 MiB of 3.0 GiB", "1 of 2 copies, 2.2 GiB of 3.0 GiB", "\r\x1b[Kn2 has left the cluster: stop it") {
		t.Errorf("%d %q", code, got)
	}
	n = &movingNode{plan: twoToN3(), steps: twoStepsToN3()[:1], started: true, n2: fakeServer(t, leaveAnswer)}
	n.steps[0].moves = view.Moves{Paused: true, Moves: n.steps[0].moves.Moves[1:]}
	r := runWith(t, n.env(t), "", "leave", "n2", "--yes", "--wait", "--wait-timeout", "800ms")
	if r.code != exitFailure || !matches(r.err, "ndctl: n2 has not left within 800ms: it still serves 2 shards", "; moves are paused: ndctl moves resume\n") {
		t.Errorf("%+v", r)
	}
}

// A node of an earlier version does not know the commands. It can leave all the same.
func TestChangesAtAnEarlierVersion(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"rebalance", "move 1 --to n3 --yes", "drain n2", "undrain n2", "replace n2 --with n3", "moves", "moves pause", "moves resume", "moves cancel", "moves --watch", "leave n1 --plan",
	} {
		n := &movingNode{earlier: true}
		r := runWith(t, n.env(t), "", strings.Fields(args)...)
		if r.code != exitFailure || r.out != "" || !matches(r.err, "ndctl: n1 (", "the node runs an earlier version of ndring, which does not know this command: upgrade all nodes first", "!unknown subcommand") {
			t.Errorf("%s: %+v", args, r)
		}
	}
	for _, args := range []string{"status", "nodes"} {
		n := &movingNode{earlier: true}
		if r := runWith(t, n.env(t), "", args); matches(r.out, "moves") || !matches(r.out, "n1") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// leaveAnswer is what a node answers that is told to leave.
func leaveAnswer(args []string) any {
	if args[len(args)-1] == "PLAN" {
		return encoded(twoToN3())
	}
	return "OK"
}

// leave shows a plan of the node that leaves, and orders that node.
func TestPlanOfLeave(t *testing.T) {
	t.Parallel()
	run := func(problem string, args ...string) (*movingNode, result) {
		n := &movingNode{plan: twoToN3()}
		if problem != "" {
			n.plan.Problems = []string{problem}
		}
		return n, runWith(t, n.env(t), "", args...)
	}
	if n, r := run("", "leave", "n1", "--plan"); r.code != 0 || r.out != twoToN3Text || n.planned() != "CLUSTER LEAVE" || n.ordered() != "" {
		t.Errorf("%q %+v", n.orders, r)
	}
	if n, r := run("", "leave", "n1"); r.code != exitUsage || r.out != twoToN3Text || !matches(r.err, "Let n1 leave the cluster?") || n.ordered() != "" {
		t.Errorf("%q %+v", n.orders, r)
	}
	if n, r := run("", "leave", "n1", "--yes"); r.code != 0 || !matches(r.out, twoToN3Text+"n1 is leaving: it hands over its shards.") || n.ordered() != "CLUSTER LEAVE" {
		t.Errorf("%q %+v", n.orders, r)
	}
	if n, r := run("n3 has room for 1 byte and needs 2", "leave", "n1", "--yes"); r.code != exitFailure || n.ordered() != "" || !matches(r.out, "problem: n3 has room for 1 byte and needs 2") {
		t.Errorf("without room: %q %+v", n.orders, r)
	}
	if n, r := run("", "leave", "n1", "--yes", "--json"); r.code != 0 || !matches(r.out, `"started": true`, `"done": false`) || n.ordered() != "CLUSTER LEAVE" {
		t.Errorf("%q %+v", n.orders, r)
	}
}

// A terminal shows the plan, the question and a bar.
func TestChangeOnATerminal(t *testing.T) {
	t.Parallel()
	n := &movingNode{plan: twoToN3(), steps: twoStepsToN3()}
	got, code := onTerminal(t, n.env(t), "y\n", "drain", "n2")
	if code != 0 || !matches(got, "Move all copies off n2? [y/N] ", "[##..............] 0 of 2 copies, 512.0 MiB of 3.0 GiB, 0 of 1 primary", "1 of 2 copies, 2.2 GiB of 3.0 GiB", "GiB/s", " left",
		"\r\x1b[Kn2 has no copies any more") {
		t.Errorf("%d %q", code, got)
	}
	n = &movingNode{plan: twoToN3()}
	if got, code := onTerminal(t, n.env(t), "n\n", "drain", "n2"); code != exitFailure || !matches(got, "cancelled: nothing was changed") || n.ordered() != "" {
		t.Errorf("%d %q", code, got)
	}
}

// The JSON of commands that move copies has documented fields only.
func TestJSONOfChangesIsDocumented(t *testing.T) {
	t.Parallel()
	n := &movingNode{plan: twoToN3(), steps: twoStepsToN3()}
	env := n.env(t)
	for _, args := range []string{"rebalance --plan", "move 1 --to n3 --plan", "drain n2 --plan", "replace n2 --with n3 --plan", "leave n1 --plan", "moves", "moves cancel", "failover --plan"} {
		r := runWith(t, env, "", append(strings.Fields(args), "--json")...)
		var value any
		if err := json.Unmarshal([]byte(r.out), &value); err != nil || r.code != 0 {
			t.Errorf("ndctl %s --json: %v %+v", args, err, r)
			continue
		}
		command, _, err := emptyApp().tree().Find(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		known(t, args, "", value, documentedFields(command))
	}
}
