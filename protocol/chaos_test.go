package protocol

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
)

// chaosWords are the arguments of random commands.
var chaosWords = []string{"k", "{t}a", "{t}b", "", "0", "1", "-1", "x", "*", "NX", "XX", "EX", "PX", "GET", "RESET", "ON", "OFF", "ID", "TYPE", "normal", "COUNT", "MATCH", "SAMPLES", "5",
	"16383", "SLOTSRANGE", "ORDERBY", "key-count", "LIMIT", "WITHATTRS", "WITHVERSION", "REQID", "id", ":", "::-1", "maxclients", "50", "3", "2", "99999999999999999999"}

// chaosCommand returns a command of the table with random arguments, or one that is likely to succeed.
func chaosCommand(random *rand.Rand) []string {
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	key := pick([]string{"{t}a", "{t}b", "{t}c"})
	if random.IntN(3) > 0 {
		return pickCommand(random, [][]string{
			{"NP.SET", key, bytesNPY(random.IntN(60_000), "")}, {"NP.SET", key, arrayA, "EX", "100"}, {"NP.SET", key, arrayA, "NX", "REQID", pick(chaosWords)}, {"NP.GET", key},
			{"NP.GET", key, "WITHATTRS"}, {"NP.MGET", "{t}a", "{t}b", "{t}c"}, {"DEL", key}, {"EXPIRE", key, "10"}, {"PERSIST", key}, {"NP.SLICE", key, ":"}, {"NP.TAKE", key, "0", "0,-1", "WITHATTRS"},
			{"MULTI"}, {"MULTI"}, {"EXEC"}, {"EXEC"}, {"DISCARD"}, {"WATCH", key}, {"UNWATCH"}, {"INFO", "all"}, {"CLIENT", "LIST"}, {"CLIENT", "REPLY", "SKIP"},
			{"CLIENT", "TRACKING", "ON"}, {"CLIENT", "TRACKING", "ON", "BCAST"}, {"CLIENT", "TRACKING", "ON", "OPTIN", "NOLOOP"}, {"CLIENT", "CACHING", "YES"}, {"CLIENT", "TRACKING", "OFF"},
			{"HELLO", pick([]string{"2", "3", "3"})}, {"RESET"}, {"SCAN", "0"}, {"FLUSHALL"}, {"CONFIG", "RESETSTAT"}, {"CLIENT", "PAUSE", "1"}, {"CLIENT", "UNPAUSE"},
			{"CLIENT", "KILL", "ID", fmt.Sprint(random.IntN(40))}, {"SLOWLOG", "GET"}, {"MEMORY", "USAGE", key}, {"LATENCY", "HISTOGRAM"},
		})
	}
	rows := commands.All()
	row := rows[random.IntN(len(rows))]
	args := strings.Split(row.Full, "|")
	for range random.IntN(5) {
		args = append(args, pick(chaosWords))
	}
	switch {
	case row.Name == "shutdown", row.Name == "quit", row.Full == "client|reply", row.Full == "client|pause", row.Full == "config|set":
		return []string{"PING"}
	}
	return args
}

func pickCommand(random *rand.Rand, of [][]string) []string { return of[random.IntN(len(of))] }

// Many clients send random commands in pipelines, and some disconnect in the middle: each reply is RESP,
// no connection panics, and in the end no memory is held (which start checks).
func TestChaosOfCommands(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := start(t, Config{LatencyThreshold: time.Microsecond, SlowlogSlowerThan: time.Microsecond, MaxReplyBytes: 100_000, MaxUploadBytes: 1 << 20, UploadWait: time.Millisecond})
	s.budget.SetLimit(300_000)
	var clients sync.WaitGroup
	for i := range 8 {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		clients.Go(func() {
			for range 6 {
				if !chaosClient(t, s, random) {
					return
				}
			}
		})
	}
	clients.Wait()
	if n := s.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
	s.dial(t).want("+PONG", "PING")
}

// chaosClient is one connection. It reports whether to go on.
func chaosClient(t *testing.T, s *testServer, random *rand.Rand) bool {
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Error(err)
		return false
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	c := &client{t: t, Conn: nc}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		defer nc.(*net.TCPConn).CloseWrite()
		for range 60 {
			stream := encode(chaosCommand(random)...)
			if random.IntN(200) == 0 {
				stream = stream[:random.IntN(len(stream))] // it disconnects in the middle
			}
			if _, err := io.WriteString(nc, stream); err != nil {
				return
			}
		}
	}()
	c.r = bufio.NewReader(nc)
	for {
		if _, err := resptest.Render(c.r); err != nil {
			if strings.Contains(err.Error(), "is not a reply") || strings.Contains(err.Error(), "parsing") {
				t.Errorf("not RESP: %v", err)
			}
			break
		}
	}
	nc.Close()
	<-sent
	return true
}
