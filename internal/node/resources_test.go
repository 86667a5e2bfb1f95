package node

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
)

func TestContainerLimit(t *testing.T) {
	const v2, v1, own = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/self/cgroup"
	const service2, service1 = "/sys/fs/cgroup/system.slice/ndring.service/memory.max", "/sys/fs/cgroup/memory/system.slice/ndring.service/memory.limit_in_bytes"
	const slice2 = "/sys/fs/cgroup/system.slice/memory.max"
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups": {nil, 0},
		"version 2":         {map[string]string{v2: "1073741824\n"}, 1 << 30},
		"version 2, none":   {map[string]string{v2: "max\n"}, 0},
		"version 1":         {map[string]string{v1: "536870912\n"}, 512 << 20},
		"version 1, none":   {map[string]string{v1: "9223372036854771712\n"}, 0},
		"version 2, in a container that sees its own group alone": {map[string]string{own: "0::/\n", v2: "1024\n"}, 1024},
		"version 2, a service":                                           {map[string]string{own: "0::/system.slice/ndring.service\n", service2: "2048\n", slice2: "max\n"}, 2048},
		"version 2, a service whose slice allows less":                   {map[string]string{own: "0::/system.slice/ndring.service\n", service2: "2048\n", slice2: "1024\n"}, 1024},
		"version 2, a service without a limit":                           {map[string]string{own: "0::/system.slice/ndring.service\n", service2: "max\n"}, 0},
		"version 2, a group that is not to be seen":                      {map[string]string{own: "0::/../../elsewhere\n", v2: "1024\n"}, 1024},
		"version 1, a service, beside version 2 without controllers":     {map[string]string{own: "4:cpu,memory:/system.slice/ndring.service\n0::/x:y\n", service1: "4096\n", v1: "9223372036854771712\n"}, 4096},
		"version 1, in a container whose group has a path of the engine": {map[string]string{own: "9:memory:/docker/0123\n8:pids:/docker/0123\n", v1: "8192\n"}, 8192},
		"nonsense": {map[string]string{own: "memory\n::\n0:\n", v2: "-5\n", v1: "much\n"}, 0},
	} {
		got := containerLimit(func(file string) ([]byte, error) {
			if text, ok := test.files[file]; ok {
				return []byte(text), nil
			}
			return nil, errors.New("no such file")
		})
		if got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestSystemMemory(t *testing.T) {
	for _, test := range []struct{ container, machine, want int64 }{{0, 0, 0}, {0, 8, 8}, {4, 8, 4}, {16, 8, 8}, {4, 0, 4}} {
		if got := systemMemory(test.container, test.machine); got != test.want {
			t.Errorf("a container of %d on a machine of %d: %d, want %d", test.container, test.machine, got, test.want)
		}
	}
}

func TestGoMemoryLimit(t *testing.T) {
	const gb = 1 << 30
	for _, test := range []struct{ container, maxmemory, want int64 }{
		{0, gb, math.MaxInt64}, {10 * gb, 0, 10*gb - gb/2}, {10 * gb, 8 * gb, 10*gb - gb/2 - 8*gb}, {10 * gb, 20 * gb, gb},
	} {
		if got := goMemoryLimit(test.container, test.maxmemory); got != test.want {
			t.Errorf("%d in a container of %d: %d, want %d", test.maxmemory, test.container, got, test.want)
		}
	}
}

// A limit set while the node runs may also be too much for its container: the cluster's limit applies to all nodes.
func TestMaxmemoryTooHighWhileRunning(t *testing.T) {
	t.Parallel()
	config, err := ParseConfig([]string{"--port", "0", "--http-port", "0", "--dir", "", "--maxmemory", "1mb"}, environment(), "test")
	if err != nil {
		t.Fatal(err)
	}
	config.Container = 1 << 30
	told := &told{}
	n := New(*config, slog.New(slog.NewTextHandler(told, nil)), new(slog.LevelVar))
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	if err := n.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeWithin(t, n) })
	for _, step := range []struct {
		command string
		warns   int
	}{
		{"CLUSTER CONFIG SET maxmemory 700mb", 0}, {"CLUSTER CONFIG SET maxmemory 2gb", 1}, {"CONFIG SET timeout 5", 1}, {"CONFIG SET maxmemory 3gb", 2}, {"CLUSTER CONFIG RESET maxmemory", 2},
	} {
		expect(t, n, "+OK", step.command)
		if got := strings.Count(told.String(), "for lack of memory"); got != step.warns {
			t.Errorf("after %s it has warned %d times, want %d", step.command, got, step.warns)
		}
	}
}

// told collects what a node logs.
type told struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *told) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *told) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestMaxmemoryTooHigh(t *testing.T) {
	for _, test := range []struct {
		container, maxmemory int64
		want                 bool
	}{{0, 0, false}, {0, 1 << 40, false}, {1 << 30, 0, true}, {1 << 30, 700 << 20, false}, {1 << 30, 768 << 20, false}, {1 << 30, 800 << 20, true}} {
		if got := tooMuch(test.container, test.maxmemory); got != test.want {
			t.Errorf("maxmemory %d in a container of %d: %v, want %v", test.maxmemory, test.container, got, test.want)
		}
	}
}
