package ndctl

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/redcon"
)

// fakeServer answers commands as a function says, and returns its address. An answer is a string, an error, a number, nil, or a slice of these.
func fakeServer(t *testing.T, answer func(args []string) any) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	s := redcon.NewServer("", func(conn redcon.Conn, cmd redcon.Command) {
		var args []string
		for _, a := range cmd.Args {
			args = append(args, string(a))
		}
		switch strings.ToLower(args[0]) { // what the client library sends first
		case "hello":
			conn.WriteError("ERR unknown command 'HELLO'")
		case "client":
			conn.WriteString("OK")
		default:
			conn.WriteAny(answer(args))
		}
	}, nil, nil)
	done.Go(func() { s.Serve(socket) })
	t.Cleanup(func() {
		s.Close()
		done.Wait()
	})
	return socket.Addr().String()
}

// The settings of the cluster: what goes over the wire, and what comes of the answers.
func TestClusterSettings(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex // guards all below
	var asked []string
	reply := any(nil)
	addr := fakeServer(t, func(args []string) any {
		mu.Lock()
		defer mu.Unlock()
		switch line := strings.Join(args, " "); {
		case strings.EqualFold(args[0], "cluster") && args[1] == "TOPOLOGY":
			return `{"cluster":"c1","self":"aa","leader":"aa","quorum":true,"nodes":[{"id":"aa","name":"n1","host":"10.0.0.1","port":7379,"up":true}],"shards":[{"epoch":1,"primary":"aa"}]}`
		default:
			asked = append(asked, line)
			return reply
		}
	})
	for _, tc := range []struct {
		args  string
		reply any
		asked string
		code  int
		out   []string
		err   []string
	}{
		{"config get * --cluster", []any{"maxmemory", "1gb", "save", ""}, "CLUSTER CONFIG GET *", 0, []string{"SETTING    VALUE\nmaxmemory  1gb\nsave\n"}, nil},
		{"config get max* time* --cluster --json", []any{"maxmemory", "1gb"}, "CLUSTER CONFIG GET max* time*", 0, []string{`"name": "maxmemory"`, `"value": "1gb"`, "!nodes"}, nil},
		{"config get max* --cluster", []any{}, "CLUSTER CONFIG GET max*", 0, []string{"the cluster has set nothing that matches max*\n"}, nil},
		{"config set maxmemory 2gb timeout 5 --cluster", redcon.SimpleString("OK"), "CLUSTER CONFIG SET maxmemory 2gb timeout 5", 0, []string{"the cluster: OK\n"}, nil},
		{"config set maxmemory many --cluster", errText("ERR CONFIG SET failed (possibly related to argument 'maxmemory')"), "CLUSTER CONFIG SET maxmemory many", 1, nil, []string{"ndctl: n1 (10.0.0.1:7379): ERR CONFIG SET failed"}},
		{"config reset maxmemory timeout --cluster", redcon.SimpleString("OK"), "CLUSTER CONFIG RESET maxmemory timeout", 0, []string{"the cluster: OK\n"}, nil},
		{"config reset maxmemory --cluster", errText("NOPERM this user has no permissions"), "CLUSTER CONFIG RESET maxmemory", 4, nil, []string{"n1 (10.0.0.1:7379): this user may not do that"}},
		{"config set maxmemory 2gb --cluster", errText("UNCERTAIN the cluster has not decided in time"), "CLUSTER CONFIG SET maxmemory 2gb", 1, nil, []string{"UNCERTAIN"}},
	} {
		mu.Lock()
		asked, reply = nil, tc.reply
		mu.Unlock()
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", strings.Fields(tc.args)...)
		mu.Lock()
		if r.code != tc.code || !matches(r.out, tc.out...) || !matches(r.err, tc.err...) || strings.Join(asked, "; ") != tc.asked {
			t.Errorf("ndctl %s: exit code %d, not %d, asked %q\n%s%s", tc.args, r.code, tc.code, asked, r.out, r.err)
		}
		mu.Unlock()
	}
}

// errText is an error reply.
type errText string

func (e errText) Error() string { return string(e) }
