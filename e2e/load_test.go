//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/loadtest"
)

// startLoad writes and reads until stop is called. stop fails the test if any read was wrong.
func startLoad(t *testing.T, l *loadtest.Load, r *rand.Rand) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	failed := make(chan error, 10)
	for i := range 3 {
		writer, reader := rand.New(rand.NewPCG(r.Uint64(), 1)), rand.New(rand.NewPCG(r.Uint64(), 2))
		group.Go(func() { failed <- l.Write(ctx, i, writer) })
		group.Go(func() { failed <- l.Read(ctx, reader) })
	}
	eventually(t, "writes and reads are under way", func() error {
		select {
		case err := <-failed:
			t.Fatalf("a writer or reader ended: %v", err)
		default:
		}
		return more(min(l.Acks.Load(), l.Reads.Load()), 100)
	})
	return sync.OnceFunc(func() {
		cancel()
		group.Wait()
		close(failed)
		for err := range failed {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func more(got, want int64) error {
	if got < want {
		return fmt.Errorf("%d, not yet %d", got, want)
	}
	return nil
}

// mixed returns a size from 1 KiB to 3 MiB; small ones are as frequent as large ones.
func mixed(r *rand.Rand) int { return int(1024 * math.Pow(3*1024, r.Float64())) }

// requests counts the requests of an application through go-redis: it sees what the application sees, after all that the
// client itself has tried.
type requests struct {
	mu      sync.Mutex // guards all below
	done    int
	failed  []string
	longest map[string]time.Duration // by command
}

func newRequests() *requests { return &requests{longest: map[string]time.Duration{}} }

// client is a cluster client with the default settings whose requests are counted.
func (q *requests) client(c *cluster) func(*rand.Rand) *redis.ClusterClient {
	return func(r *rand.Rand) *redis.ClusterClient {
		addrs := c.addresses()
		r.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
		client.AddHook(q)
		return client
	}
}

func (q *requests) DialHook(next redis.DialHook) redis.DialHook { return next }

func (q *requests) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (q *requests) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		start := time.Now()
		err := next(ctx, cmd)
		took := time.Since(start)
		if ctx.Err() != nil {
			return err
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if err != nil && !errors.Is(err, redis.Nil) {
			q.failed = append(q.failed, fmt.Sprintf("%s, after %.3f s: %s of %v: %v", time.Now().UTC().Format("15:04:05.000"), took.Seconds(), cmd.Name(), cmd.Args()[1], err))
			return err
		}
		q.done++
		q.longest[cmd.Name()] = max(q.longest[cmd.Name()], took)
		return err
	}
}

// pythonReport is what load.py prints at its end.
type pythonReport struct {
	Writes       int      `json:"writes"`
	Reads        int      `json:"reads"`
	LongestWrite float64  `json:"longest_write"` // s
	LongestRead  float64  `json:"longest_read"`
	Failed       []string `json:"failed"`
	Wrong        []string `json:"wrong"`
}

// startPython writes and reads on a side with the Python client until stop is called.
func (s side) startPython(t *testing.T, prefix string, seed uint64) (stop func() pythonReport) {
	t.Helper()
	argv := s.argv("python3", s.src+"/e2e/load.py", s.seed[0], s.seed[1], prefix, fmt.Sprint(seed>>1))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stderr = root(), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Process.Kill() }) // it has ended unless the test failed
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "started\n" {
		t.Fatalf("%s: load.py begins with %q, %v", s.name, line, err)
	}
	return func() (r pythonReport) {
		t.Helper()
		in.Close()
		text, err := io.ReadAll(lines)
		if err == nil {
			err = cmd.Wait()
		}
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			t.Fatalf("%s: load.py: %v: %.1000s", s.name, err, text)
		}
		return r
	}
}

// traffic is what applications do while a test replaces nodes: go-redis on the host and the Python client on both sides, all
// with default settings.
type traffic struct {
	requests *requests
	load     *loadtest.Load
	stop     func()
	sides    []side
	pythons  []func() pythonReport
}

// startTraffic starts applications. They run until end is called.
func (c *cluster) startTraffic(t *testing.T, r *rand.Rand) *traffic {
	t.Helper()
	f := &traffic{requests: newRequests(), sides: c.sides(t, 1+r.IntN(nodes))}
	f.load = &loadtest.Load{Client: f.requests.client(c), Prefix: t.Name() + " ", Size: mixed, Pause: 20 * time.Millisecond}
	for _, s := range f.sides {
		f.pythons = append(f.pythons, s.startPython(t, t.Name()+" "+s.name+" ", r.Uint64()))
	}
	f.stop = startLoad(t, f.load, r)
	return f
}

// end stops the applications, and fails the test for each request that failed, for each wrong read and each lost write.
func (f *traffic) end(t *testing.T, c *cluster, r *rand.Rand) {
	t.Helper()
	f.stop()
	client := c.client(rand.New(r))
	defer client.Close()
	for _, err := range f.load.Verify(t.Context(), client) {
		t.Errorf("at the end: %v", err)
	}
	q := f.requests
	t.Logf("go-redis: %d requests, %d failed; longest write %v, delete %v, read %v", q.done, len(q.failed),
		q.longest["np.set"].Round(time.Millisecond), q.longest["del"].Round(time.Millisecond), q.longest["np.get"].Round(time.Millisecond))
	for _, text := range q.failed[:min(len(q.failed), 20)] {
		t.Errorf("go-redis: %s", text)
	}
	for i, s := range f.sides {
		p := f.pythons[i]()
		t.Logf("python, %s: %d requests, %d failed; longest write %.0f ms, read %.0f ms", s.name, p.Writes+p.Reads+len(p.Failed), len(p.Failed), p.LongestWrite*1000, p.LongestRead*1000)
		for _, text := range append(p.Failed, p.Wrong...)[:min(len(p.Failed)+len(p.Wrong), 20)] {
			t.Errorf("python, %s: %s", s.name, text)
		}
		if min(p.Writes, p.Reads) < 100 {
			t.Errorf("python, %s: %d writes and %d reads are too few", s.name, p.Writes, p.Reads)
		}
	}
}
