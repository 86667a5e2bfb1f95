package ndctl

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/redcon"
)

// fakeServer answers commands with what answer returns: a string, an error, a number, nil, a slice
// of these, or hangUp. It returns its address.
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
			reply := answer(args)
			if reply == hangUp {
				conn.Close()
				return
			}
			conn.WriteAny(reply)
		}
	}, nil, nil)
	done.Go(func() { s.Serve(socket) })
	t.Cleanup(func() {
		s.Close()
		socket.Close() // s.Close does nothing until Serve has begun, which would then never end
		done.Wait()
	})
	return socket.Addr().String()
}

// errText is an error reply.
type errText string

func (e errText) Error() string { return string(e) }

// hangUp is the answer that closes the connection.
const hangUp = errText("hang up")
