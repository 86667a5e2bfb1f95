package node

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/slowtest"
)

// tool returns the path of a program of Debian's redis-tools.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

func portOf(t *testing.T, n *Node) string {
	t.Helper()
	_, port, err := net.SplitHostPort(n.ClientAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// fill stores 20 arrays: k0, k1, ...
func fill(t *testing.T, n *Node) {
	t.Helper()
	c := dialTalker(t, n)
	for i := range 20 {
		if got := c.say("NP.SET", fmt.Sprint("k", i), array); got != "+OK" {
			t.Fatal(got)
		}
	}
}

func TestRedisCLI(t *testing.T) {
	t.Parallel()
	cli, n := tool(t, "redis-cli"), openNode(t)
	port := portOf(t, n)
	run := func(stdin string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), cli, append([]string{"-c", "-p", port}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli %s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, protocol := range []string{"-2", "-3"} {
		if out := run(array, protocol, "-x", "NP.SET", "k"); out != "OK\n" {
			t.Errorf("%s NP.SET: %q", protocol, out)
		}
		if out := run("", protocol, "NP.GET", "k"); out != array+"\n" {
			t.Errorf("%s NP.GET: %q", protocol, out)
		}
		if out := run("", protocol, "NP.SHAPE", "k"); out != "4\n" {
			t.Errorf("%s NP.SHAPE: %q", protocol, out)
		}
	}
	if out := run("PING\nNP.DTYPE k\nMULTI\nEXISTS k\nEXEC\n"); out != "PONG\n<i2\nOK\nQUEUED\n1\n" {
		t.Errorf("commands from a file: %q", out)
	}
	fill(t, n)
	for _, test := range []struct{ args, want string }{
		{"--bigkeys", `(?s)Sampled 21 keys.*21 ndarrays with`},
		{"--memkeys", `Biggest ndarray found '"k\d*"' has \d+ bytes`},
		{"--scan --pattern k1?", `^(k1\d\n){10}$`},
		{"--cluster check 127.0.0.1:" + port, `\[OK\] All 16384 slots covered\.`},
		{"--cluster info 127.0.0.1:" + port, `21 keys in 1 masters`},
		{"SLOWLOG HELP", `SLOWLOG <subcommand>`},
		{"INFO ALL", `cmdstat_np\.set:calls=\d+,usec=\d+`},
	} {
		if out := run("", strings.Fields(test.args)...); !regexp.MustCompile(test.want).MatchString(out) {
			t.Errorf("redis-cli %s: %s", test.args, out)
		}
	}
	// The memory is that of the whole process, so this one does nothing else.
	_, alone, err := net.SplitHostPort(startBuilt(t).resp)
	if err != nil {
		t.Fatal(err)
	}
	if out := run("", "-p", alone, "MEMORY", "DOCTOR"); !strings.Contains(out, "Nothing looks wrong") {
		t.Errorf("redis-cli MEMORY DOCTOR: %s", out)
	}
}

// What redis-cli does at a terminal, which script provides.
func TestRedisCLIAtATerminal(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	cli, script, n := tool(t, "redis-cli"), tool(t, "script"), openNode(t)
	fill(t, n)
	for _, test := range []struct{ args, stdin, want string }{
		{"", "help np.set\nhelp client kill\nNP.DTYPE k1\nexit\n", `(?s)Stores an array, given as a \.npy file.*Closes connections.*"<i2"`},
		{"", "help @array\nexit\n", `(?s)NP\.GET.*Returns an array as a \.npy file`},
		{"--stat -i 0.05", "", `keys +mem +clients(.*\s)+20 +\S+ +\d+ `},
		{"--latency -i 1", "", `min: \d+, max: \d+, avg: `},
		{"--latency-history -i 1", "", `min: \d+, max: \d+, avg: `},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, script, "-qfec", "exec "+cli+" -p "+portOf(t, n)+" "+test.args, "/dev/null")
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // then script ends its child
		cmd.WaitDelay = 5 * time.Second
		cmd.Env = []string{"TERM=dumb", "PATH=" + os.Getenv("PATH")}
		stdin, err := cmd.StdinPipe() // stays open: script ends with it
		if err != nil {
			t.Fatal(err)
		}
		out := &watched{change: make(chan struct{}, 1)}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if test.stdin != "" {
			out.wait(ctx, t, regexp.MustCompile(`:\d+> $`)) // earlier input is lost
			fmt.Fprint(stdin, test.stdin)
		}
		out.wait(ctx, t, regexp.MustCompile(test.want))
		cancel()
		cmd.Wait() // it was told to end
	}
}

// watched is output that a test waits for.
type watched struct {
	mu     sync.Mutex
	b      bytes.Buffer
	change chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.change <- struct{}{}:
	default:
	}
	return w.b.Write(p)
}

func (w *watched) wait(ctx context.Context, t *testing.T, want *regexp.Regexp) {
	t.Helper()
	for {
		w.mu.Lock()
		found, shown := want.Match(w.b.Bytes()), w.b.String()
		w.mu.Unlock()
		if found {
			return
		}
		select {
		case <-w.change:
		case <-ctx.Done():
			t.Errorf("%s is not in %s", want, shown)
			return
		}
	}
}

func TestRedisBenchmark(t *testing.T) {
	t.Parallel()
	benchmark, n := tool(t, "redis-benchmark"), openNode(t)
	fill(t, n)
	for _, args := range []string{"-t ping", "NP.GET k5", "-P 16 NP.GET k5", "-r 10 DEL none__rand_int__", "-c 50 -r 20 NP.SHAPE k__rand_int__"} {
		cmd := exec.CommandContext(t.Context(), benchmark, append([]string{"-p", portOf(t, n), "-n", "1000", "--csv"}, strings.Fields(args)...)...)
		out, err := cmd.CombinedOutput()
		if err != nil || !regexp.MustCompile(`(?m)^"[^"]+","\d+\.\d+"`).Match(out) || bytes.Contains(out, []byte("WARNING")) {
			t.Errorf("redis-benchmark %s: %v\n%s", args, err, out)
		}
	}
	c := dialTalker(t, n)
	if info := c.say("INFO", "errorstats"); strings.Contains(info, "errorstat_") {
		t.Errorf("there were errors: %s", info)
	}
}

// The commands of Prometheus' exporter for Redis, and the fields behind its metrics.
func TestExporterConversation(t *testing.T) {
	t.Parallel()
	n := openNode(t, "--slowlog-log-slower-than", "0", "--latency-monitor-threshold", "1")
	fill(t, n)
	c := dialTalker(t, n)
	if got := c.say("CLIENT", "SETNAME", "redis_exporter"); got != "+OK" {
		t.Error(got)
	}
	if got := c.say("NOSUCH"); got[0] != '-' {
		t.Error(got)
	}
	info := c.say("INFO", "ALL")
	for _, line := range []string{
		`redis_version:\d+\.\d+\.\d+`, `redis_mode:cluster`, `os:\w+ \w+`, `run_id:[0-9a-f]{40}`, `tcp_port:\d+`, `process_id:\d+`, `uptime_in_seconds:\d+`,
		`connected_clients:2`, `blocked_clients:0`, `maxclients:10000`, `tracking_clients:0`, `client_recent_max_output_buffer:\d+`,
		`used_memory:\d+`, `used_memory_rss:\d+`, `total_system_memory:\d+`, `maxmemory:0`, `mem_fragmentation_ratio:\d+\.\d+`,
		`loading:0`, `rdb_bgsave_in_progress:0`, `rdb_last_save_time:\d+`, `rdb_last_bgsave_status:ok`, `rdb_changes_since_last_save:20`, `aof_enabled:1`, `aof_last_write_status:ok`, `aof_current_size:\d+`,
		`total_connections_received:2`, `total_commands_processed:\d+`, `total_net_input_bytes:\d+`, `total_net_output_bytes:\d+`, `rejected_connections:0`,
		`expired_keys:0`, `evicted_keys:0`, `keyspace_hits:0`, `keyspace_misses:0`, `total_error_replies:1`,
		`role:master`, `connected_slaves:0`, `master_repl_offset:0`, `used_cpu_sys:\d+\.\d+`, `used_cpu_user:\d+\.\d+`, `cluster_enabled:1`,
		`db0:keys=20,expires=0,avg_ttl=0`, `cmdstat_np\.set:calls=20,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=0,failed_calls=0`,
		`errorstat_ERR:count=1`, `latency_percentiles_usec_np\.set:p50=\d+,p99=\d+,p99\.9=\d+`,
	} {
		if !regexp.MustCompile(`\n` + line + `\r\n`).MatchString(info) {
			t.Errorf("INFO ALL lacks %s", line)
		}
	}
	for _, test := range []struct{ command, want string }{
		{"CLUSTER INFO", `(?s)cluster_state:ok\r\n.*cluster_slots_assigned:16384\r\n.*cluster_known_nodes:1\r\n.*cluster_size:1\r\n.*cluster_stats_messages_sent:0\r\n`},
		{"SLOWLOG LEN", `^:\d+$`},
		{"SLOWLOG GET 1", `^\[\[:\d+ :\d+ :\d+ \["SLOWLOG" "LEN"\] "127\.0\.0\.1:\d+" "redis_exporter"\]\]$`},
		{"LATENCY LATEST", `^\[(\["[a-z-]+" :\d+ :\d+ :\d+\] ?)*\]$`},
		{"LATENCY HISTOGRAM", `"np\.set" \["calls" :20 "histogram_usec" \[:\d+ :\d+`},
		{"CONFIG GET *", `^\[.*"maxclients" "10000" .*"maxmemory" "0" .*\]$`},
		{"CLIENT LIST", `(?m)^"?id=\d+ addr=127\.0\.0\.1:\d+ laddr=\S+ fd=\d+ name=redis_exporter age=\d+ idle=0 flags=N db=0 .* omem=\d+ tot-mem=\d+ events=r cmd=client\|list user=default .*resp=2`},
	} {
		if got := c.say(strings.Fields(test.command)...); !regexp.MustCompile(test.want).MatchString(got) {
			t.Errorf("%s: %.2000s", test.command, got)
		}
	}
}
