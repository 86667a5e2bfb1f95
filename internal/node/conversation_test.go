package node

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
)

// startRedis runs redis-server as a cluster of one node, on a port that is free.
func startRedis(t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed")
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = socket.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	socket.Close()
	cmd := exec.CommandContext(t.Context(), program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(),
		"--cluster-enabled", "yes", "--cluster-port", "0")
	if bus, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_, busPort, _ := net.SplitHostPort(bus.Addr().String())
		bus.Close()
		cmd.Args[len(cmd.Args)-1] = busPort
	}
	var log strings.Builder
	cmd.Stdout = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("redis-server said:\n%s", &log)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if nc, err := net.Dial("tcp", address); err == nil {
			c := newTalker(nc)
			c.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
			ok := strings.Contains(c.say("CLUSTER", "INFO"), "cluster_state:ok")
			nc.Close()
			if ok {
				return address
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server is not ready after 30 s")
		}
	}
}

type talker struct {
	net.Conn
	r *bufio.Reader
}

func newTalker(nc net.Conn) *talker {
	nc.SetDeadline(time.Now().Add(time.Minute))
	return &talker{nc, bufio.NewReader(nc)}
}

// say returns the reply to a command, or how the connection failed.
func (c *talker) say(args ...string) string {
	if _, err := io.WriteString(c, resptest.Command(args...)); err != nil {
		return "failed: " + err.Error()
	}
	reply, err := resptest.Render(c.r)
	if err != nil {
		return "failed: " + err.Error()
	}
	return reply
}

var (
	words    = regexp.MustCompile(`"[^"]*"|\S+`)
	contents = regexp.MustCompile(`"[^"]*"|:-?\d+|=(?s:.*)`)
)

// types reduces a reply to the types of its scalars, in their places.
func types(reply string) string {
	return contents.ReplaceAllStringFunc(reply, func(s string) string { return s[:1] })
}

// What Redis answers, field by field. Redis' own tools and clients were written against these replies.
func TestConversationWithRedis(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("testdata/conversation.txt")
	if err != nil {
		t.Fatal(err)
	}
	redisAddress, ourAddress := startRedis(t), openNode(t).ClientAddrs()[0].String()
	for _, protocol := range []string{"2", "3"} {
		t.Run("RESP"+protocol, func(t *testing.T) {
			var sides [2]*talker
			for i, address := range []string{redisAddress, ourAddress} {
				nc, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				sides[i] = newTalker(nc)
				sides[i].say("HELLO", protocol)
				sides[i].say("FLUSHALL")
			}
			compared := 0
			for number, line := range strings.Split(string(script), "\n") {
				if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
					continue
				}
				mark := line[0]
				command, _, _ := strings.Cut(strings.TrimLeft(line, "~!@ "), " | ")
				args := words.FindAllString(command, -1)
				for i := range args {
					args[i] = strings.Trim(args[i], `"`)
				}
				toRedis, toUs := args, args
				if mark == '@' {
					toRedis = append([]string{"SET", args[0], "value"}, args[1:]...)
					toUs = append([]string{"NP.SET", args[0], array}, args[1:]...)
				}
				theirs, ours := sides[0].say(toRedis...), sides[1].say(toUs...)
				ours = strings.ReplaceAll(ours, "'np.set'", "'set'")
				if mark == '~' {
					theirs, ours = types(theirs), types(ours)
				}
				compared++
				if same := theirs == ours; same == (mark == '!') {
					t.Errorf("line %d: %s\nRedis  %.300q\nndring %.300q", number+1, line, theirs, ours)
				}
			}
			if compared < 100 {
				t.Errorf("only %d commands were compared", compared)
			}
		})
	}
}
