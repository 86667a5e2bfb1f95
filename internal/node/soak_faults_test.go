//go:build faults

package node

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// soakFigures are what a soak watches, by their names in /metrics, and by how much each may grow in a minute.
var soakFigures = []struct {
	name, metric string
	unit, most   float64
}{
	{"resident MiB", "process_resident_memory_bytes", mebibyte, 8},
	{"Go heap MiB", "go_memstats_heap_inuse_bytes", mebibyte, 4},
	{"goroutines", "go_goroutines", 1, 10},
	{"open files", "process_open_fds", 1, 5},
}

// leastSoak is the time from which on slopes tell something.
const leastSoak = 2 * time.Minute

// TestSoak runs a cluster under load and faults for a time: kills, stops, freezes and, as root, cuts of its network; hostile bytes
// on all ports, clients that connect and vanish, and wrong passwords. It prints by how much memory, goroutines and file descriptors
// of each node have grown in the second half, and fails if that is more than there is a reason for. One node is killed and stopped;
// the others live for the whole time.
func TestSoak(t *testing.T) {
	span := 10 * time.Minute
	if text := os.Getenv("NDRING_SOAK_TIME"); text != "" {
		var err error
		if span, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %v", seed, span)
	c := &copiesCluster{t: t, r: rand.New(rand.NewPCG(seed, 1))}
	faults := []fault{
		{"kill", 3, func(c *copiesCluster, _ int) { kill(c, 0) }}, {"stop", 2, func(c *copiesCluster, _ int) { stop(c, 0) }}, {"freeze", 3, freeze},
	}
	if _, err := exec.LookPath("ip"); err == nil && os.Geteuid() == 0 {
		c.network = newNetwork(t, 3)
		faults = append(faults, fault{"cut", 3, cut}, fault{"one-way cut", 3, cutOneWay})
	}
	c.open(3)
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	s := &soak{t: t, ctx: ctx, cluster: c, seed: seed, began: time.Now()}
	s.ports(2)
	before := s.rest()
	for i := range uint64(4) {
		s.running.Go(func() { s.load(rand.New(rand.NewPCG(seed, 10+i))) })
	}
	s.running.Go(func() { s.attack(rand.New(rand.NewPCG(seed, 20))) })
	s.running.Go(func() { s.reconnect(rand.New(rand.NewPCG(seed, 21))) })
	s.running.Go(s.sample)
	for ctx.Err() == nil {
		c.fault(faults)
	}
	s.running.Wait()
	c.awaitCopies()
	t.Logf("%v; operations: %d done, %d failed; %d bad inputs, %d clients that came and went", c.count, s.done.Load(), s.failed.Load(), s.attacks.Load(), s.connects.Load())
	if s.done.Load() == 0 || s.attacks.Load() == 0 || s.connects.Load() == 0 {
		t.Error("the cluster was not under load")
	}
	s.verdict(span)
	s.restsAgain(before)
}

// soak is one run of TestSoak.
type soak struct {
	t       *testing.T
	ctx     context.Context
	cluster *copiesCluster
	seed    uint64
	began   time.Time
	running sync.WaitGroup

	clusterID string
	at        []ports // of each node

	done, failed, attacks, connects atomic.Int64
	samples                         [3][]soakSample // of each node; only sample uses them until it has ended
}

type soakSample struct {
	after   time.Duration // since the start
	figures []float64
}

// ports finds where the nodes listen. Node of is one that lives for the whole time.
func (s *soak) ports(of int) {
	s.t.Helper()
	p := s.cluster.procs[of].ports(s.t)
	for i := range s.cluster.procs {
		at := ports{resp: s.cluster.addrs[i], node: p.node, cluster: p.cluster}
		if s.cluster.network != nil {
			host := s.cluster.network.address(i + 1)
			at.http, at.bus, at.gossip = host+":7380", host+":17379", host+":7946"
		} else {
			a := s.cluster.args[i]
			at.bus, at.gossip, at.http = "127.0.0.1:"+a[3], "127.0.0.1:"+a[5], "127.0.0.1:"+a[7]
		}
		s.at = append(s.at, at)
	}
}

// load writes and reads arrays of a fixed set of keys.
func (s *soak) load(r *rand.Rand) {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.cluster.addrs, Protocol: 2, ReadTimeout: 2 * time.Second, MaxRedirects: 5})
	defer client.Close()
	for s.ctx.Err() == nil {
		key := "soak" + strconv.Itoa(r.IntN(100))
		var err error
		if r.IntN(3) == 0 {
			err = client.Do(s.ctx, "NP.SET", key, npyOfBytes(1<<(7+r.IntN(12)))).Err()
		} else if err = client.Do(s.ctx, "NP.GET", key).Err(); err == redis.Nil {
			err = nil
		}
		if err == nil {
			s.done.Add(1)
		} else {
			s.failed.Add(1)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// attack sends hostile bytes to all ports of all nodes. They are about nodes that do not exist: forged deaths are for other tests.
func (s *soak) attack(r *rand.Rand) {
	streams := corpus(r)
	onBus, onGossip := badBus{r, s.at[0].cluster}, badGossip{r, fmt.Sprintf("%040x", r.Uint64()), strings.Repeat("ab", 16), 1}
	for s.ctx.Err() == nil {
		at := s.at[r.IntN(len(s.at))]
		switch slowly := r.IntN(20) == 0; r.IntN(5) {
		case 0:
			attack("tcp", at.resp, []byte(streams[r.IntN(len(streams))].stream), slowly)
		case 1:
			attack("tcp", at.bus, onBus.input(), slowly)
		case 2:
			attack("tcp", at.gossip, spoiled(r, onGossip.message()), slowly)
		case 3:
			attack("udp", at.gossip, spoiled(r, onGossip.message()), false)
		case 4:
			attack("tcp", at.http, badHTTP(r), slowly)
		}
		s.attacks.Add(1)
	}
}

// reconnect makes clients that connect, log in wrongly, ask a little and vanish.
func (s *soak) reconnect(r *rand.Rand) {
	for s.ctx.Err() == nil {
		nc, err := net.DialTimeout("tcp", s.at[r.IntN(len(s.at))].resp, time.Second)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		nc.SetDeadline(time.Now().Add(2 * time.Second))
		c := &talker{Conn: nc, r: nil}
		io.WriteString(c, [...]string{"AUTH someone wrong\r\n", "PING\r\n", "SUBSCRIBE\r\n", "CLIENT TRACKING ON BCAST\r\nHELLO 3\r\n", "MULTI\r\nPING\r\n", "*3\r\n$6\r\nNP.SET\r\n"}[r.IntN(6)])
		if r.IntN(2) == 0 {
			nc.Read(make([]byte, 100))
		}
		nc.Close()
		s.connects.Add(1)
		time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
	}
}

// sample reads the figures of all nodes about twice a second.
func (s *soak) sample() {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for s.ctx.Err() == nil {
		for i, at := range s.at {
			if figures, err := s.figures(&client, at.http); err == nil {
				s.samples[i] = append(s.samples[i], soakSample{time.Since(s.began), figures})
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func (s *soak) figures(client *http.Client, address string) (figures []float64, err error) {
	reply, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, err
	}
	for _, f := range soakFigures {
		m := regexp.MustCompile(`(?m)^` + f.metric + ` (\S+)$`).FindSubmatch(body)
		if m == nil {
			return nil, fmt.Errorf("no %s", f.metric)
		}
		n, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return nil, err
		}
		figures = append(figures, n/f.unit)
	}
	return figures, nil
}

// verdict prints the slopes of the second half, and fails for those that are too steep. The first node is not judged: it starts
// again and again.
func (s *soak) verdict(span time.Duration) {
	for i, samples := range s.samples {
		var late []soakSample
		for _, one := range samples {
			if one.after > span/2 {
				late = append(late, one)
			}
		}
		if len(late) < 2 {
			if i > 0 {
				s.t.Errorf("n%d: only %d samples in the second half", i, len(late))
			}
			continue
		}
		for j, f := range soakFigures {
			slope, least, most := slopeOf(late, j)
			s.t.Logf("n%d  %-12s %8.2f a minute, from %.0f to %.0f in %d samples", i, f.name, slope, least, most, len(late))
			if i > 0 && span >= leastSoak && slope > f.most {
				s.t.Errorf("n%d: %s grow by %.2f a minute, at most %.0f may be", i, f.name, slope, f.most)
			}
		}
	}
	for i, p := range s.cluster.all {
		if strings.Contains(p.logged(), "panic") {
			s.t.Errorf("process %d has panicked:\n%s", i, tail(p.logged(), 6000))
		}
	}
}

// rest returns the figures of the nodes that live for the whole time, without load.
func (s *soak) rest() map[int][]float64 {
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	all := map[int][]float64{}
	for i := 1; i < len(s.at); i++ {
		figures, err := s.figures(&client, s.at[i].http)
		if err != nil {
			s.t.Fatal(err)
		}
		all[i] = figures
	}
	return all
}

// restsAgain waits until goroutines and open files are about what they were before the load: what remains is lost.
func (s *soak) restsAgain(before map[int][]float64) {
	s.t.Helper()
	const slack = 20
	var now map[int][]float64
	rests := func() bool {
		now = s.rest()
		for i, figures := range now {
			if figures[2] > before[i][2]+slack || figures[3] > before[i][3]+slack {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(2 * time.Minute); !rests(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			s.t.Errorf("goroutines or open files are not given back")
			break
		}
	}
	for i, figures := range now {
		for j, f := range soakFigures {
			s.t.Logf("n%d  %-12s %.0f at rest, before the load %.0f", i, f.name, figures[j], before[i][j])
		}
	}
}

// slopeOf returns the slope of a figure by the minute (least squares), and its range.
func slopeOf(samples []soakSample, figure int) (slope, least, most float64) {
	var sx, sy, sxx, sxy float64
	n := float64(len(samples))
	least, most = samples[0].figures[figure], samples[0].figures[figure]
	for _, s := range samples {
		x, y := s.after.Minutes(), s.figures[figure]
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
		least, most = min(least, y), max(most, y)
	}
	if d := n*sxx - sx*sx; d > 0 {
		slope = (n*sxy - sx*sy) / d
	}
	return slope, least, most
}

// A figure that grows has a slope.
func TestSoakSlope(t *testing.T) {
	var samples []soakSample
	for i := range 60 {
		samples = append(samples, soakSample{time.Duration(i) * time.Second, []float64{100 + float64(i)/60*3 + float64(i%2)}})
	}
	if slope, least, most := slopeOf(samples, 0); slope < 2.9 || slope > 3.1 || least != 100 || most < 103 {
		t.Errorf("slope %v, from %v to %v", slope, least, most)
	}
}
