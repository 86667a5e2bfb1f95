package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/internal/slowtest"
)

const mebibyte = 1 << 20

// resident returns the resident memory of the process in bytes.
func (p *process) resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func (p *process) dial(t *testing.T) *talker {
	t.Helper()
	nc, err := net.Dial("tcp", p.resp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return newTalker(nc)
}

// until waits until condition holds.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// Every input of the corpus, before and after AUTH, ends in an error or closes that connection. A well-behaved client
// notices nothing, nothing panics, and the memory returns to what it was.
func TestHostileCorpus(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	inputs := corpus(rand.New(rand.NewPCG(seed, 0)))
	classes := map[string]int{}
	for _, in := range inputs {
		classes[in.class]++
	}
	for class, n := range classes {
		if n < 10 {
			t.Errorf("only %d inputs of class %s", n, class)
		}
	}
	if len(inputs) < 500 {
		t.Errorf("only %d inputs", len(inputs))
	}
	const password = "s3cret"
	p := startBuilt(t, "--requirepass", password, "--upload-stall", "1s")
	good := p.dial(t)
	if got := good.say("AUTH", password); got != "+OK" {
		t.Fatal(got)
	}
	stored := npyFile(1, literal("'|u1'", "False", "(100000,)"), strings.Repeat("g", 100_000))
	check := func(in string) {
		t.Helper()
		if got := good.say("NP.SET", "good", stored); got != "+OK" {
			t.Fatalf("after %s the good client got %s", in, got)
		}
		if got := good.say("NP.GET", "good"); got != `"`+stored+`"` {
			t.Fatalf("after %s the good client got %.100q", in, got)
		}
	}
	check("nothing")
	idle := p.resident(t)
	for _, authenticated := range []bool{false, true} {
		for i, in := range inputs {
			name := fmt.Sprintf("%s, input %d %.80q, authenticated %v", in.class, i, in.stream, authenticated)
			c := p.dial(t)
			if authenticated {
				if got := c.say("AUTH", password); got != "+OK" {
					t.Fatal(got)
				}
			}
			go func() { // it may be closed before it has read everything
				io.WriteString(c, in.stream)
				if !in.whole {
					c.Conn.(*net.TCPConn).CloseWrite()
				}
			}()
			if in.whole {
				answer, err := resptest.Render(c.r)
				switch {
				case err != nil && !authenticated: // more than an unauthenticated client may send
				case err != nil:
					t.Errorf("%s: no answer: %v", name, err)
				case answer[0] != '-':
					t.Errorf("%s: %.100s", name, answer)
				case !authenticated && !strings.Contains(in.stream, "HELLO") && !strings.HasPrefix(answer, "-NOAUTH") && !strings.HasPrefix(answer, "-ERR Protocol error") &&
					!strings.HasPrefix(answer, "-NOPROTO") && !strings.HasPrefix(answer, "-TOOLARGE"):
					t.Errorf("%s: a stranger got %.100s", name, answer)
				}
			} else {
				ended(t, name, c)
			}
			c.Close()
			if i%20 == 0 {
				check(name)
			}
		}
	}
	check("all")
	if got := good.say("EXISTS", "bad"); got != ":0" && got != ":1" { // a mutated stream may be valid
		t.Errorf("EXISTS: %s", got)
	}
	info := good.say("INFO", "everything")
	for _, want := range []string{"connection_panics:0\r\n", "upload_bytes:0\r\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("%s is not in INFO", strings.TrimSpace(want))
		}
	}
	until(t, "the memory is given back", func() bool {
		good.say("MEMORY", "PURGE")
		return p.resident(t) < idle+64*mebibyte
	})
	t.Logf("%d inputs of %d classes, twice; %d MiB resident before, %d after", len(inputs), len(classes), idle/mebibyte, p.resident(t)/mebibyte)
}

// ended waits until the server has closed a connection.
func ended(t *testing.T, name string, c *talker) {
	t.Helper()
	_, err := io.Copy(io.Discard, c.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection stays open", name)
	}
}

// The memory of an idle connection, in the process and not in the system's socket buffers.
func TestIdleConnectionsAreCheap(t *testing.T) {
	t.Parallel()
	const most = 16 << 10
	connections := rounds(10_000, 2_000)
	p := startBuilt(t, "--maxclients", strconv.Itoa(connections+10))
	watcher := p.dial(t)
	settled := func() int64 {
		watcher.say("MEMORY", "PURGE")
		return p.resident(t)
	}
	before := settled()
	for range connections {
		nc, err := net.Dial("tcp", p.resp)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, resptest.Command("PING")); err != nil {
			t.Fatal(err)
		}
		if got, err := resptest.Render(bufio.NewReaderSize(nc, 16)); got != "+PONG" {
			t.Fatal(got, err)
		}
	}
	if got := watcher.say("INFO", "clients"); !strings.Contains(got, fmt.Sprintf("connected_clients:%d\r\n", connections+1)) {
		t.Fatal(got)
	}
	each := (settled() - before) / int64(connections)
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("an idle connection costs %d bytes, at most %d may be", each, most)
	}
}

// For clients that never read their replies the node buffers what the limits allow, and serves other clients.
func TestClientsThatNeverRead(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	const limit = 64 * mebibyte
	clients := int64(1000)
	p := startBuilt(t, "--max-output-bytes", "64mb", "--max-reply-bytes", "8mb", "--slowlog-log-slower-than", "-1")
	good := p.dial(t)
	good.SetDeadline(time.Now().Add(4 * time.Minute))
	reply := int64(len(good.say("COMMAND")))
	before := p.resident(t)
	asked := strings.Repeat(resptest.Command("COMMAND"), 200)
	for range clients {
		c := p.dial(t)
		go io.WriteString(c, asked) // fails when the test ends
	}
	// Each has its share, plus what it had when the limit was reached; a reply is made before it is counted.
	most := limit + clients*(64<<10+64<<10+2*reply)
	var last int64
	until(t, "no client gets more", func() bool {
		got := good.say("INFO")
		now := number(t, got, "total_net_output_bytes")
		waiting := number(t, got, "reply_bytes")
		if waiting > most {
			t.Fatalf("%d MiB of replies wait, at most %d may", waiting/mebibyte, most/mebibyte)
		}
		still := now-last < 1*mebibyte && waiting > limit
		last = now
		return still
	})
	good.say("MEMORY", "PURGE") // garbage does not count
	used := p.resident(t) - before
	t.Logf("%d MiB of replies wait, the process has %d MiB more", number(t, good.say("INFO"), "reply_bytes")/mebibyte, used/mebibyte)
	if bound := 2*most + clients*(64<<10); used > bound { // buffers grow by doubling, and each client also has one for its commands
		t.Errorf("%d MiB more are resident, at most %d may be", used/mebibyte, bound/mebibyte)
	}
	if got := good.say("PING"); got != "+PONG" {
		t.Error(got)
	}
}

func number(t *testing.T, info, name string) int64 {
	t.Helper()
	m := regexp.MustCompile(`\n` + name + `:(\d+)\r`).FindStringSubmatch(info)
	if m == nil {
		t.Fatalf("INFO has no %s", name)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
