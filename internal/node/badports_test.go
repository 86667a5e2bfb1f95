package node

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
)

// ports are where a node listens, and who it is.
type ports struct{ resp, http, bus, gossip, node, cluster string }

var (
	reachableLine = regexp.MustCompile(`msg="reachable by other nodes" node=(\S+) .* gossip=(\S+) bus=(\S+) `)
	clusterWord   = regexp.MustCompile(`msg="ndring is ready".* cluster=(\S+) `)
)

func (p *process) ports(t *testing.T) ports {
	t.Helper()
	reach, of := reachableLine.FindStringSubmatch(p.logged()), clusterWord.FindStringSubmatch(p.logged())
	if reach == nil || of == nil {
		t.Fatalf("the log does not say where the node is:\n%s", p.logged())
	}
	return ports{p.resp, p.http, reach[3], reach[2], reach[1], of[1]}
}

// figure returns a number of /metrics.
func figure(t *testing.T, address, name string) float64 {
	t.Helper()
	_, body := httpGet(t, "http://"+address+"/metrics")
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no %s in %.500s", name, body)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// attack sends one input over a connection of its own, and waits until the node has closed it or the time is over. An input may be
// sent in small pieces.
func attack(network, address string, input []byte, slowly bool) error {
	conn, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if network == "udp" {
		conn.Write(input[:min(len(input), 60_000)])
		return nil
	}
	go func() { // it may end first
		if slowly {
			for len(input) > 0 && len(input) < 200 {
				n := min(len(input), 10)
				conn.Write(input[:n])
				input = input[n:]
				time.Sleep(2 * time.Millisecond)
			}
		}
		conn.Write(input)
		conn.(*net.TCPConn).CloseWrite()
	}()
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	io.Copy(io.Discard, conn)
	return nil
}

// badHTTP returns one hostile request.
func badHTTP(r *rand.Rand) []byte {
	some := []string{
		"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", "PUT /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "GET http://[::1 HTTP/1.1\r\n\r\n",
		"GET /metrics?" + strings.Repeat("x", 20_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + strings.Repeat("A", 5000) + "\r\n\r\n", "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, gzip;q=nan\r\nRange: bytes=0-,0-,0-\r\n\r\n",
		"GET /readyz HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 1000) + "\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(make([]byte, 100)), "GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	if r.IntN(10) == 0 {
		return noise(r, 5000)
	}
	return spoiled(r, []byte(some[r.IntN(len(some))]))
}

// More than 2,000 bad inputs on the four ports of one node: it goes on serving, nothing panics, it keeps no memory, goroutines or
// file descriptors, believes nothing that it was told, and its log stays short.
func TestHostileInputOnAllPorts(t *testing.T) {
	t.Parallel()
	began := time.Now()
	seed := uint64(began.UnixNano())
	t.Logf("seed %d", seed)
	p := startBuilt(t, "--shards", "16", "--upload-stall", "1s")
	at := p.ports(t)
	good := p.dial(t)
	stored := npyFile(1, literal("'|u1'", "False", "(10000,)"), strings.Repeat("g", 10_000))
	check := func(when string) {
		t.Helper()
		if got := good.say("NP.SET", "good", stored); got != "+OK" {
			t.Fatalf("%s the good client got %s", when, got)
		}
		if got := good.say("NP.GET", "good"); got != `"`+stored+`"` {
			t.Fatalf("%s the good client got %.100q", when, got)
		}
	}
	check("before")
	topology := good.say("CLUSTER", "TOPOLOGY")
	goroutines, files, resident := figure(t, p.http, "go_goroutines"), figure(t, p.http, "process_open_fds"), p.resident(t)
	lines := strings.Count(p.logged(), "\n")

	streams := corpus(rand.New(rand.NewPCG(seed, 0)))
	random := func(port uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, port)) }
	onBus, onGossip, onHTTP := badBus{random(1), at.cluster}, badGossip{random(2), at.node, at.cluster, 1}, random(3)
	next := 0
	attackers := []struct {
		port    string
		inputs  int
		network func(i int) string
		address string
		input   func() []byte
	}{
		{"clients", len(streams), func(int) string { return "tcp" }, at.resp, func() []byte { next++; return []byte(streams[next-1].stream) }},
		{"bus", 700, func(int) string { return "tcp" }, at.bus, onBus.input},
		{"gossip", 700, func(i int) string { return []string{"tcp", "udp"}[i%2] }, at.gossip, func() []byte { return spoiled(onGossip.Rand, onGossip.message()) }},
		{"HTTP", 400, func(int) string { return "tcp" }, at.http, func() []byte { return badHTTP(onHTTP) }},
	}
	var sent atomic.Int64
	var wait sync.WaitGroup
	for _, a := range attackers {
		inputs := make(chan []byte)
		go func() {
			defer close(inputs)
			for range a.inputs {
				inputs <- a.input()
			}
		}()
		var count atomic.Int64
		for range 8 { // at once
			wait.Go(func() {
				for input := range inputs {
					i := int(count.Add(1))
					if err := attack(a.network(i), a.address, input, i%7 == 0); err != nil {
						t.Errorf("%s, input %d: %v", a.port, i, err)
					}
					sent.Add(1)
				}
			})
		}
	}
	held := holdConnections(t, at)
	done := make(chan struct{})
	go func() { wait.Wait(); close(done) }()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		case <-time.After(20 * time.Millisecond):
		}
		check("meanwhile")
		if code, body := httpGet(t, "http://"+p.http+"/readyz"); code != 200 {
			t.Errorf("not ready: %s", body)
		}
	}
	for _, conn := range held {
		conn.Close()
	}
	check("after")
	if n := sent.Load(); n < 2000 {
		t.Errorf("only %d inputs", n)
	}
	if got := good.say("CLUSTER", "TOPOLOGY"); got != topology {
		t.Errorf("the topology has changed:\n%s\n%s", topology, got)
	}
	if got := good.say("CLUSTER", "NODES"); strings.Count(got, "connected") != 1 || strings.Contains(got, "fail") {
		t.Errorf("CLUSTER NODES: %s", got)
	}
	if got := good.say("INFO", "everything"); !strings.Contains(got, "connection_panics:0\r\n") || strings.Contains(p.logged(), "panic") {
		t.Errorf("something has panicked:\n%s", p.logged())
	}
	until(t, "goroutines, file descriptors and memory are given back", func() bool {
		good.say("MEMORY", "PURGE")
		return figure(t, p.http, "go_goroutines") <= goroutines+5 && figure(t, p.http, "process_open_fds") <= files+5 && p.resident(t) < resident+64*mebibyte
	})
	more := strings.Count(p.logged(), "\n") - lines
	t.Logf("%d inputs; %.0f goroutines, before %.0f; %.0f files, before %.0f; %d MiB, before %d; %d lines of log",
		sent.Load(), figure(t, p.http, "go_goroutines"), goroutines, figure(t, p.http, "process_open_fds"), files, p.resident(t)/mebibyte, resident/mebibyte, more)
	if more > 100+2*linesLimit*int(time.Since(began)/linesTime) { // a slow machine gives the limit of lines more time
		t.Errorf("%d lines were logged:\n%s", more, p.logged())
	}
}

// holdConnections opens connections to each port that send nothing, or only a beginning.
func holdConnections(t *testing.T, at ports) (held []net.Conn) {
	t.Helper()
	for i, address := range []string{at.resp, at.bus, at.gossip, at.http} {
		for j := range 20 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if j%2 == 0 {
				fmt.Fprint(conn, []string{resptest.Command("PING")[:5], "NDRB\x01", "\x06", "GET /"}[i])
			}
			held = append(held, conn)
		}
	}
	return held
}
