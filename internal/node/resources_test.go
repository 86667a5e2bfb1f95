package node

import (
	"errors"
	"math"
	"testing"
)

func TestContainerLimit(t *testing.T) {
	const v2, v1 = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups": {nil, 0},
		"version 2":         {map[string]string{v2: "1073741824\n"}, 1 << 30},
		"version 2, none":   {map[string]string{v2: "max\n"}, 0},
		"version 1":         {map[string]string{v1: "536870912\n"}, 512 << 20},
		"version 1, none":   {map[string]string{v1: "9223372036854771712\n"}, 0},
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

func TestTooMuch(t *testing.T) {
	for _, test := range []struct {
		container, maxmemory int64
		want                 bool
	}{{0, 0, false}, {0, 1 << 40, false}, {1 << 30, 0, true}, {1 << 30, 700 << 20, false}, {1 << 30, 768 << 20, false}, {1 << 30, 800 << 20, true}} {
		if got := tooMuch(test.container, test.maxmemory); got != test.want {
			t.Errorf("maxmemory %d in a container of %d: %v, want %v", test.maxmemory, test.container, got, test.want)
		}
	}
}
