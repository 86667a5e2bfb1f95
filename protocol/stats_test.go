package protocol

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

func TestCommandStatistics(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	for range 3 {
		c.do("NP.SET", "k", arrayA)
	}
	c.do("NP.SET", "k", "garbage") // failed
	c.do("NP.SET", "k")            // rejected
	c.do("CLIENT", "ID")
	c.do("NOSUCH")
	info := c.do("INFO", "commandstats", "errorstats", "latencystats")
	stat := field(info, "cmdstat_np.set", ":")
	if !strings.HasPrefix(stat, "calls=4,usec=") || !strings.HasSuffix(stat, ",rejected_calls=1,failed_calls=1") {
		t.Errorf("np.set: %s", stat)
	}
	for _, want := range []string{"cmdstat_client|id:calls=1,", "errorstat_BADNPY:count=1\r\n", "errorstat_ERR:count=2\r\n", "latency_percentiles_usec_np.set:p50="} {
		if !strings.Contains(info, want) {
			t.Errorf("%s is not in %s", want, info)
		}
	}
	histogram := c.do("LATENCY", "HISTOGRAM", "np.set", "client", "nosuch", "np.get")
	if !strings.HasPrefix(histogram, `["np.set" ["calls" :4 "histogram_usec" [`) || !strings.Contains(histogram, `"client|id" ["calls" :1 `) || strings.Contains(histogram, "np.get") {
		t.Errorf("LATENCY HISTOGRAM: %s", histogram)
	}
	for _, args := range [][]string{{"MULTI"}, {"NP.SET", "k", "garbage"}, {"PING"}, {"EXEC"}, {"EXEC"}} {
		c.do(args...)
	}
	info = c.do("INFO", "commandstats")
	if exec, set := field(info, "cmdstat_exec", ":"), field(info, "cmdstat_np.set", ":"); !strings.HasPrefix(exec, "calls=2,") || !strings.HasSuffix(exec, ",failed_calls=1") || !strings.HasSuffix(set, ",failed_calls=2") {
		t.Errorf("after an EXEC with a command that fails, and one without MULTI: exec %s, np.set %s", exec, set)
	}
	c.want("+OK", "CONFIG", "RESETSTAT")
	if info := c.do("INFO", "everything"); strings.Contains(info, "np.set") || strings.Contains(info, "errorstat_") || field(info, "total_commands_processed", ":") != "1" {
		t.Errorf("after the reset: %s", info)
	}
}

func TestLatencyClasses(t *testing.T) {
	for took, want := range map[time.Duration]int{
		0: 0, 1: 0, time.Microsecond: 0, time.Microsecond + 1: 1, 2 * time.Microsecond: 1, 3 * time.Microsecond: 2, 4 * time.Microsecond: 2,
		1024 * time.Microsecond: 10, 1025 * time.Microsecond: 11, time.Hour: latencyClasses - 1, 1000 * time.Hour: latencyClasses - 1,
	} {
		if got := latencyClass(took); got != want {
			t.Errorf("%v is of class %d, want %d", took, got, want)
		}
	}
	stat := &newStatistics(1).commands[0]
	stat.latency[3].Store(99)
	stat.latency[10].Store(1)
	for part, want := range map[float64]int64{0.5: 8, 0.99: 8, 0.999: 1024} {
		if got := stat.percentile(part); got != want {
			t.Errorf("p%v is %d, want %d", 100*part, got, want)
		}
	}
}

func TestSlotStatistics(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	foo, bar := topology.Slot([]byte("foo")), topology.Slot([]byte("bar"))
	set, get := []string{"NP.SET", "foo", bytesNPY(5000, "")}, []string{"NP.GET", "foo"}
	c.do(set...)
	c.do(get...)
	c.do("NP.SET", "{foo}2", arrayA)
	c.do("NP.SET", "bar", arrayA)
	var keys, cpu, in, out, memory int
	reply := c.do("CLUSTER", "SLOT-STATS", "SLOTSRANGE", fmt.Sprint(foo), fmt.Sprint(foo))
	fmt.Sscanf(reply, fmt.Sprintf(`[[:%d ["key-count" :%%d "cpu-usec" :%%d "network-bytes-in" :%%d "network-bytes-out" :%%d "memory-bytes" :%%d]]]`, foo),
		&keys, &cpu, &in, &out, &memory)
	wantIn := len(encode(set...)) + len(encode(get...)) + len(encode("NP.SET", "{foo}2", arrayA))
	wantOut := 2*len("+OK\r\n") + len("$0000\r\n\r\n") + len(set[2])
	if keys != 2 || in != wantIn || out != wantOut || memory < 5000 || memory > 7000 {
		t.Errorf("%s\nwant 2 keys, %d bytes in, %d out", reply, wantIn, wantOut)
	}
	order := func(args ...string) string {
		reply := c.do(append([]string{"CLUSTER", "SLOT-STATS", "ORDERBY"}, args...)...)
		var slots []string
		for _, part := range strings.Split(reply, "[:")[1:] {
			slot, _, _ := strings.Cut(part, " ")
			slots = append(slots, slot)
		}
		return strings.Join(slots, " ")
	}
	if got, want := order("key-count", "LIMIT", "2"), fmt.Sprint(foo, " ", bar); got != want {
		t.Errorf("by keys: %s, want %s", got, want)
	}
	if got := order("memory-bytes", "LIMIT", "3", "ASC"); got != "0 1 2" {
		t.Errorf("by memory, ascending: %s", got)
	}
	if got := strings.Count(c.do("CLUSTER", "SLOT-STATS", "SLOTSRANGE", "0", "16383"), "key-count"); got != topology.Slots {
		t.Errorf("%d slots", got)
	}
	for _, bad := range [][]string{
		{"SLOTSRANGE", "0"}, {"SLOTSRANGE", "0", "16384"}, {"SLOTSRANGE", "x", "1"}, {"SLOTSRANGE", "2", "1"}, {"ORDERBY", "what"},
		{"ORDERBY", "key-count", "LIMIT"}, {"ORDERBY", "key-count", "LIMIT", "0"}, {"ORDERBY", "key-count", "UP"}, {"WHAT", "1"},
		{"ORDERBY", "key-count", "ASC", "DESC"}, {"ORDERBY", "key-count", "LIMIT", "1", "LIMIT", "2"},
	} {
		if got := c.do(append([]string{"CLUSTER", "SLOT-STATS"}, bad...)...); got[0] != '-' {
			t.Errorf("%s: %s", bad, got)
		}
	}
	if got := c.do("INFO", "keysizes"); !strings.Contains(got, "db0_distrib_ndarray_sizes:64=2,4K=1\r\n") {
		t.Errorf("INFO keysizes: %s", got)
	}
}

func TestSlowlog(t *testing.T) {
	t.Parallel()
	s := start(t, Config{SlowlogSlowerThan: 1, SlowlogMaxLen: 5})
	c := s.dial(t)
	c.want("+OK", "CLIENT", "SETNAME", "slow")
	c.do("AUTH", "secret")
	c.do("NP.SET", "k", bytesNPY(1000, ""))
	c.do(append([]string{"NP.MGET"}, strings.Fields(strings.Repeat("{t} ", 40))...)...)
	c.do("CONFIG", "SET", "maxclients", "77", "requirepass", "secret")
	s.view.Store(&fakeCluster{change: func(context.Context, []Setting) error { return errSyntax }})
	c.do("CLUSTER", "CONFIG", "SET", "requirepass", "secret")
	c.do("COMMAND", "GETKEYS", "CONFIG", "SET", "requirepass", "secret")
	got := c.do("SLOWLOG", "GET", "-1")
	for _, want := range []string{
		`["CONFIG" "SET" "maxclients" "77" "requirepass" "(redacted)"]`, `["CLUSTER" "CONFIG" "SET" "requirepass" "(redacted)"]`, `["COMMAND" "GETKEYS" "CONFIG" "(redacted)"`, `"{t}" "... (10 more arguments)"]`, `... (`, `"` + c.LocalAddr().String() + `" "slow"]`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %.2000q", want, got)
		}
	}
	if strings.Contains(got, "secret") || strings.Contains(got, "SETNAME") || len(got) > 4000 {
		t.Errorf("%d bytes: %.4000q", len(got), got)
	}
	c.want(":5", "SLOWLOG", "LEN")
	c.want("+OK", "SLOWLOG", "RESET")
	off := *s.config.Load()
	off.SlowlogSlowerThan = -1
	s.Reconfigure(off)
	c.want(":1", "SLOWLOG", "LEN") // the reset itself
	c.want(":1", "SLOWLOG", "LEN")
}

func TestLatencyEvents(t *testing.T) {
	t.Parallel()
	s := start(t, Config{LatencyThreshold: 1})
	c := s.dial(t)
	for range 5 {
		c.do("PING")
	}
	c.do("INFO")
	if got := c.do("LATENCY", "LATEST"); !strings.Contains(got, `["command" :`) || !strings.Contains(got, `["fast-command" :`) {
		t.Errorf("LATENCY LATEST: %s", got)
	}
	if got := c.do("LATENCY", "HISTORY", "fast-command"); !strings.HasPrefix(got, "[[:") {
		t.Errorf("LATENCY HISTORY: %s", got)
	}
	c.want(":1", "LATENCY", "RESET", "command", "nosuch")
	l := &s.latency
	at := time.Unix(1000, 0)
	for i := range 500 {
		l.add(commands.Find([]byte("info")), at.Add(time.Duration(i)*500*time.Millisecond), time.Duration(i)*time.Millisecond)
	}
	if event := l.events["command"]; len(event.samples) != maxSamples || event.longest != 499 || event.samples[maxSamples-1] != (latencySample{1249, 499}) {
		t.Errorf("%d samples, the longest %d, the last %v", len(event.samples), event.longest, event.samples[len(event.samples)-1])
	}
}

func TestConfigThroughTheServer(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "CONFIG", "SET", "maxclients", "2")
	c.want(`["maxclients" "2"]`, "CONFIG", "GET", "max*")
	s.dial(t).want("+PONG", "PING")
	if got := s.dial(t).closed(); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("a third client got %q", got)
	}
	locked := *s.config.Load()
	locked.Password = "p"
	locked.MaxArrayBytes = 10
	s.Reconfigure(locked)
	c.want("+PONG", "PING") // authenticated clients stay authenticated, as in Redis
	c.want("-TOOLARGE the array is too large: 24 bytes of data, the limit is 10", "NP.SET", "k", arrayA)
	c.want("+OK", "MULTI")
	c.want("+RESET", "RESET")
	c.want("-NOAUTH Authentication required.", "PING")
	c.want("+OK", "AUTH", "p")
	c.send(encode("SHUTDOWN", "NOSAVE"))
	if got := c.closed(); got != "" || s.stops.Load() != 1 {
		t.Errorf("SHUTDOWN got %q, %d stops", got, s.stops.Load())
	}
}

func TestShutdownSaysHow(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	for words, want := range map[string]Shutdown{
		"SHUTDOWN": ShutdownDefault, "SHUTDOWN NOW FORCE": ShutdownDefault | ShutdownNow, "SHUTDOWN FORCE": ShutdownDefault | ShutdownNow,
		"SHUTDOWN SAVE": ShutdownSave, "SHUTDOWN NOW save": ShutdownSave | ShutdownNow, "SHUTDOWN SAVE SAVE": ShutdownSave,
		"SHUTDOWN nosave": ShutdownNoSave, "SHUTDOWN NOSAVE FORCE": ShutdownNoSave | ShutdownNow,
	} {
		s.how.Store(-1)
		before := s.stops.Load()
		c := s.dial(t)
		c.send(encode(strings.Fields(words)...))
		if got := c.closed(); got != "" || s.stops.Load() != before+1 || Shutdown(s.how.Load()) != want {
			t.Errorf("%s: %q, %d stops, got %d, want %d", words, got, s.stops.Load()-before, s.how.Load(), want)
		}
	}
	c := s.dial(t)
	before := s.stops.Load()
	c.talk([]exchange{
		{"SHUTDOWN SAVE NOSAVE", `-ERR syntax error`},
		{"SHUTDOWN what", `-ERR syntax error`},
		{"SHUTDOWN NOW ABORT", `-ERR syntax error`},
		{"SHUTDOWN ABORT", `-ERR No shutdown in progress.`},
	})
	if s.stops.Load() != before {
		t.Error("a refused SHUTDOWN stopped the node")
	}
}

// A value that is damaged in memory is detected, reported and logged.
func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	log := new(lockedBuffer)
	s.logs.to(log)
	c := s.dial(t)
	for name, npy := range map[string]string{"small": arrayA, "large": bytesNPY(100_000, "x")} {
		c.want("+OK", "NP.SET", name, npy)
		c.want("+OK", "NP.VERIFY", name)
		entry := s.store.Shard(int(topology.ShardOfKey([]byte(name), 256))).Get([]byte(name), false)
		entry.NPY()[len(npy)-1] ^= 1
		entry.Release()
		if got := c.do("NP.VERIFY", name); !strings.HasPrefix(got, "-CORRUPT ") {
			t.Errorf("%s: %s", name, got)
		}
		if lines := log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "stored value is corrupt") || !strings.Contains(lines[0], "key="+name) {
			t.Errorf("%s: the log says %q", name, lines)
		}
	}
	c.want("$nil", "NP.VERIFY", "none")
}
