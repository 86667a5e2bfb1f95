package node

import (
	"bufio"
	"fmt"
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

// startRedis runs redis-server as a cluster of one node.
func startRedis(t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed")
	}
	for range 10 { // it cannot choose its ports itself, and another program may take them first
		if address, ok := tryRedis(t, program, freePort(t), freePort(t)); ok {
			return address
		}
	}
	t.Fatal("redis-server does not start")
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	_, port, err := net.SplitHostPort(socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// tryRedis returns false if the process ended before it was ready.
func tryRedis(t *testing.T, program, port, busPort string) (address string, ok bool) {
	t.Helper()
	address = net.JoinHostPort("127.0.0.1", port)
	cmd := exec.CommandContext(t.Context(), program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", t.TempDir(),
		"--cluster-enabled", "yes", "--cluster-port", busPort)
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
	self := fmt.Sprintf("\r\nprocess_id:%d\r\n", cmd.Process.Pid)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			return "", false
		default:
		}
		nc, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		c := newTalker(nc)
		ready := strings.Contains(c.say("INFO", "server"), self) // and not another process that took the port
		if ready {
			c.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
			ready = strings.Contains(c.say("CLUSTER", "INFO"), "cluster_state:ok")
		}
		nc.Close()
		if ready {
			return address, true
		}
	}
	t.Fatal("redis-server is not ready after 30 s")
	return "", false
}

type talker struct {
	net.Conn
	r *bufio.Reader
}

func newTalker(nc net.Conn) *talker {
	return &talker{nc, bufio.NewReader(nc)}
}

// say returns the reply to a command, or how the connection failed.
func (c *talker) say(args ...string) string {
	c.SetDeadline(time.Now().Add(time.Minute))
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
	names    = regexp.MustCompile(`"[^"]*"`)
	hint     = regexp.MustCompile(`\(ndring [^()]*: see docs/commands\.md\)`) // added by ndring to Redis' text
	contents = regexp.MustCompile(`"[^"]*"|:-?\d+|=(?s:.*)`)
)

// The texts about missing rights are those of Redis 7.2, which say the name of the user; those of 7.0 become the same.
var (
	denials = strings.NewReplacer("This user has no permission", "user has no permission", "this user has no permissions to access one of the keys used as arguments",
		"No permissions to access a key", "this user has no permission", "user has no permission")
	withoutName = regexp.MustCompile(`User \w+ has no permission`)
)

// types replaces the scalars of a reply by their types.
func types(reply string) string {
	return contents.ReplaceAllStringFunc(reply, func(s string) string { return s[:1] })
}

// Replies match those of Redis field by field: Redis' tools and clients rely on them.
func TestConversationWithRedis(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("testdata/conversation.txt")
	if err != nil {
		t.Fatal(err)
	}
	redisAddress, ourAddress := startRedis(t), openNode(t).ClientAddrs()[0].String()
	t.Run("streams", func(t *testing.T) { testStreams(t, redisAddress, ourAddress) })
	for _, protocol := range []string{"2", "3"} {
		t.Run("RESP"+protocol, func(t *testing.T) {
			var sides [2]*talker
			var lists [2]string
			for i, address := range []string{redisAddress, ourAddress} {
				nc, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				sides[i] = newTalker(nc)
				sides[i].say("HELLO", protocol)
				sides[i].say("FLUSHALL")
				lists[i] = sides[i].say("COMMAND", "LIST")
			}
			compared, asked := 0, map[string]bool{}
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
				ours = hint.ReplaceAllString(strings.ReplaceAll(ours, "'np.set'", "'set'"), "")
				if mark == '~' {
					theirs, ours = types(theirs), types(ours)
				}
				theirs, ours = denials.Replace(theirs), withoutName.ReplaceAllString(ours, "user has no permission")
				compared++
				asked[strings.ToLower(toUs[0])] = true
				if len(toUs) > 1 {
					asked[strings.ToLower(toUs[0]+"|"+toUs[1])] = true
				}
				if same := theirs == ours; same == (mark == '!') {
					t.Errorf("line %d: %s\nRedis  %.300q\nndring %.300q", number+1, line, theirs, ours)
				}
			}
			t.Logf("%d requests were compared", compared)
			theirs := map[string]bool{}
			for _, name := range names.FindAllString(lists[0], -1) {
				theirs[name] = true
			}
			both := 0
			for _, name := range names.FindAllString(lists[1], -1) {
				if theirs[name] {
					if both++; !asked[strings.Trim(name, `"`)] {
						t.Errorf("Redis has %s too, but no case covers it", name)
					}
				}
			}
			if both < 50 {
				t.Errorf("only %d commands are in both: %.200s", both, lists[1])
			}
		})
	}
}
