package node

import (
	"log/slog"
	"math"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// useResources reads the memory limits of container and machine, and fits Go's heap to the container unless the
// environment has GOMEMLIMIT.
func useResources(config *Config, log *slog.Logger) {
	config.Container = containerLimit(os.ReadFile)
	config.Server.SystemMemory = systemMemory(config.Container, machineMemory())
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(goMemoryLimit(config.Container, config.Server.Memory.Limit))
	}
	warnOfMemory(log, config.Container, config.Server.Memory.Limit)
}

// warnOfMemory warns if the container has too little memory for maxmemory.
func warnOfMemory(log *slog.Logger, container, maxmemory int64) {
	if tooMuch(container, maxmemory) {
		log.Warn("the system may kill this process for lack of memory: set maxmemory to at most three quarters of the container's limit", "container", container, "maxmemory", maxmemory)
	}
}

// systemMemory returns the memory that this process can use: the limit of its container, but no more than the machine
// has. 0 if unknown.
func systemMemory(container, machine int64) int64 {
	if container == 0 || machine > 0 && machine < container {
		return machine
	}
	return container
}

// tooMuch reports whether maxmemory leaves too little of the container for the process itself. Without a container
// there is no limit to compare with.
func tooMuch(container, maxmemory int64) bool {
	return container > 0 && (maxmemory == 0 || maxmemory > container/4*3)
}

// machineMemory returns the bytes of memory of this machine, 0 if unknown.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// goMemoryLimit returns the soft limit of Go's heap: what the container leaves beside the values, which are outside the
// heap, and at least a tenth of the container.
func goMemoryLimit(container, maxmemory int64) int64 {
	if container == 0 {
		return math.MaxInt64
	}
	return max(container-container/20-maxmemory, container/10)
}

// containerLimit returns the memory limit of this process in bytes: the smallest of its control group and the groups
// around it, 0 for none. A container sees its own group as the root; a service of the machine is in a nested group.
func containerLimit(read func(string) ([]byte, error)) (least int64) {
	const version1, version2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	within := map[string]string{version1: "/", version2: "/"}
	groups, _ := read("/proc/self/cgroup") // lines are number:controllers:group; version 2 has no controllers
	for line := range strings.Lines(string(groups)) {
		switch part := strings.SplitN(strings.TrimSpace(line), ":", 3); {
		case len(part) != 3:
		case part[0] == "0" && part[1] == "":
			within[version2] = path.Join("/", part[2])
		case slices.Contains(strings.Split(part[1], ","), "memory"):
			within[version1] = path.Join("/", part[2])
		}
	}
	for root, file := range map[string]string{version1: "memory.limit_in_bytes", version2: "memory.max"} {
		for group := within[root]; ; group = path.Dir(group) {
			if n := limitIn(read, path.Join(root, group, file)); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if group == "/" {
				break
			}
		}
	}
	return least
}

// limitIn reads a limit in bytes, 0 for none: version 2 writes "max", and version 1 a number near the largest one.
func limitIn(read func(string) ([]byte, error), file string) int64 {
	text, err := read(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n < 0 || n >= 1<<60 {
		return 0
	}
	return n
}
