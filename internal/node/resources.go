package node

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// useResources fits Go's heap to the container, unless GOMEMLIMIT in the environment says how.
func useResources(maxmemory int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(goMemoryLimit(containerLimit(os.ReadFile), maxmemory))
	}
}

// goMemoryLimit returns what Go's heap may take before its collector works harder: what the container leaves beside the values, which are not on it,
// and at least a tenth of the container.
func goMemoryLimit(container, maxmemory int64) int64 {
	if container == 0 {
		return math.MaxInt64
	}
	return max(container-container/20-maxmemory, container/10)
}

// containerLimit returns the memory in bytes that this process' control group may take, 0 for no limit.
func containerLimit(read func(string) ([]byte, error)) int64 {
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := read(file)
		if err != nil {
			continue
		}
		// "max" is version 2's word for none, and version 1 has a number near the largest one.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < 1<<60 {
			return n
		}
	}
	return 0
}
