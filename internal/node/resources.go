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

// useResources notes what memory there is, and fits Go's heap to the container, unless GOMEMLIMIT in the environment says how.
func useResources(config *Config, log *slog.Logger) {
	config.Container = containerLimit(os.ReadFile)
	config.Server.SystemMemory = systemMemory(config.Container, machineMemory())
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(goMemoryLimit(config.Container, config.Server.Memory.Limit))
	}
	warnOfMemory(log, config.Container, config.Server.Memory.Limit)
}

// warnOfMemory says that there is too little for maxmemory.
func warnOfMemory(log *slog.Logger, container, maxmemory int64) {
	if tooMuch(container, maxmemory) {
		log.Warn("the system may end this process for want of memory: set maxmemory to no more than three quarters of the container's", "container", container, "maxmemory", maxmemory)
	}
}

// systemMemory returns what there is for this process: what its container allows, but no more than the machine has. 0 if nobody knows.
func systemMemory(container, machine int64) int64 {
	if container == 0 || machine > 0 && machine < container {
		return machine
	}
	return container
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

// containerLimit returns the memory in bytes that this process may take: the least that its control group and those around it allow, 0 for no limit. A container
// sees its own group as the outermost one; a service of the machine is in a group further in.
func containerLimit(read func(string) ([]byte, error)) (least int64) {
	const version1, version2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	within := map[string]string{version1: "/", version2: "/"}
	groups, _ := read("/proc/self/cgroup") // each line is number:controllers:group; that of version 2 has no controllers
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

// limitIn reads a limit in bytes, 0 for none: "max" is version 2's word for that, and version 1 has a number near the largest one.
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
