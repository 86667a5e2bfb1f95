package node

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// useResources fits Go's heap to the container, unless GOMEMLIMIT in the environment says how, and returns the memory in bytes that there is for this process.
func useResources(maxmemory int64, log *slog.Logger) int64 {
	container := containerLimit(os.ReadFile)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(goMemoryLimit(container, maxmemory))
	}
	if tooMuch(container, maxmemory) {
		log.Warn("the system may end this process for want of memory: set --maxmemory to no more than three quarters of the container's", "container", container, "maxmemory", maxmemory)
	}
	if container > 0 {
		return container
	}
	return machineMemory()
}

// tooMuch reports whether maxmemory lets values take what the process needs beside them. Without a container the machine's other memory is nobody's promise.
func tooMuch(container, maxmemory int64) bool {
	return container > 0 && (maxmemory == 0 || maxmemory > container/4*3)
}

// machineMemory returns the bytes of memory of this machine, 0 if it does not say.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
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
