package protocol

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines returns what was written since the last call.
func (l *lockedBuffer) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

// Commands that change the node for all clients are logged, with the client and without passwords.
func TestChangesOfTheNodeAreLogged(t *testing.T) {
	t.Parallel()
	s := startOn(t, Config{}, 16, func(*shard.Store) {})
	s.follow(t, threeNodes())
	log := new(lockedBuffer)
	s.logs.to(log)
	s.view.Store(&fakeCluster{
		members:  map[topology.NodeID]Liveness{otherID: {}},
		forget:   func(context.Context, topology.NodeID) error { return nil },
		leave:    func(context.Context) error { return nil },
		takeover: func([]topology.ShardID) error { return nil },
		empty:    func(context.Context, []topology.ShardID) (int, error) { return 1, nil },
		change:   func(context.Context, []Setting) error { return nil },
		reset:    func(context.Context, []string) error { return nil },
	})
	c := s.dial(t)
	c.want("+OK", "CLIENT", "SETNAME", "deploy-7")
	audited := map[string]bool{}
	for _, test := range []struct{ command, want string }{
		{"FLUSHALL", `msg="client changed the node" command=FLUSHALL `},
		{"FLUSHDB SYNC", `command="FLUSHDB SYNC" `},
		{"CONFIG SET maxclients 77", `command="CONFIG SET maxclients 77" `},
		{"CONFIG SET maxclients 77 RequirePass s3cret", `msg="client failed to change the node" command="CONFIG SET maxclients 77 RequirePass (redacted)" `},
		{"CONFIG SET a requirepass s3cret b", `command="CONFIG SET a requirepass (redacted) b" `},
		{"CONFIG SET requirepass s3cret x", `command="CONFIG SET requirepass (redacted) x" `},
		{"CONFIG RESETSTAT", `command="CONFIG RESETSTAT" `},
		{"CLIENT KILL ID 12345", `command="CLIENT KILL ID 12345" `},
		{"CLIENT PAUSE 0", `command="CLIENT PAUSE 0" `},
		{"CLIENT UNPAUSE", `command="CLIENT UNPAUSE" `},
		{"CLUSTER FORGET " + otherID, `command="CLUSTER FORGET ` + otherID + `" `},
		{"CLUSTER FORGET nosuch", `err="ERR Unknown node nosuch"`},
		{"CLUSTER BEGIN-EMPTY 3", `command="CLUSTER BEGIN-EMPTY 3" `},
		{"CLUSTER FAILOVER TAKEOVER", `command="CLUSTER FAILOVER TAKEOVER" `},
		{"CLUSTER LEAVE", `command="CLUSTER LEAVE" `},
		{"CLUSTER REBALANCE", `command="CLUSTER REBALANCE" `},
		{"CLUSTER REBALANCE PLAN", ""},
		{"CLUSTER MOVE SHARD 3 TO " + otherID, `command="CLUSTER MOVE SHARD 3 TO ` + otherID + `" `},
		{"CLUSTER DRAIN " + otherID, `command="CLUSTER DRAIN ` + otherID + `" `},
		{"CLUSTER DRAIN " + otherID + " plan", ""},
		{"CLUSTER UNDRAIN " + otherID, `command="CLUSTER UNDRAIN ` + otherID + `" `},
		{"CLUSTER REPLACE " + otherID + " WITH " + otherID, `command="CLUSTER REPLACE ` + otherID + ` WITH ` + otherID + `" `},
		{"CLUSTER MOVES", ""},
		{"CLUSTER MOVES PAUSE", `command="CLUSTER MOVES PAUSE" `},
		{"CLUSTER CONFIG SET requirepass s3cret", `command="CLUSTER CONFIG SET requirepass (redacted)" `},
		{"CLUSTER CONFIG RESET timeout", `command="CLUSTER CONFIG RESET timeout" `},
		{"CLUSTER CONFIG GET *", ""},
		{"CLUSTER GOSSIPKEY ADD s3cret", `command="CLUSTER GOSSIPKEY ADD (redacted)" `},
		{"CLUSTER GOSSIPKEY USE 0123456789abcdef", `command="CLUSTER GOSSIPKEY USE 0123456789abcdef" `},
		{"CLUSTER GOSSIPKEY LIST", ""},
		{"CONFIG GET *", ""},
		{"NP.SET k $A", ""},
		{"DEL k", ""},
	} {
		args := strings.Fields(strings.ReplaceAll(test.command, "$A", arrayA))
		c.do(args...)
		lines := slices.DeleteFunc(log.lines(), func(line string) bool { return line == "" })
		if test.want == "" {
			if len(lines) > 0 {
				t.Errorf("%s: %q", test.command, lines)
			}
			continue
		}
		client := `client=` + c.LocalAddr().String() + ` name=deploy-7`
		if len(lines) != 1 || !strings.Contains(lines[0], test.want) || !strings.Contains(lines[0], client) || strings.Contains(lines[0], "s3cret") {
			t.Errorf("%s: %q, want %s...%s", test.command, lines, test.want, client)
		}
		row, err := commands.LookUp([]resp.Arg{resp.NewArg([]byte(args[0])), resp.NewArg([]byte(args[min(1, len(args)-1)]))})
		if err != nil {
			t.Fatal(err)
		}
		audited[row.Full] = true
	}
	for _, row := range commands.All() {
		if row.Flags&command.Audited != 0 && !audited[row.Full] {
			t.Errorf("%s is logged, and has no line above", row.Full)
		}
	}
	c.send(encode("SHUTDOWN"))
	if got := c.closed(); got != "" {
		t.Errorf("SHUTDOWN: %q", got)
	}
	if line := log.lines()[0]; !strings.Contains(line, "requested a shutdown") || !strings.Contains(line, "name=deploy-7") {
		t.Errorf("SHUTDOWN: %q", line)
	}
}
