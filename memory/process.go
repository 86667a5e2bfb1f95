package memory

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Process returns how many bytes of memory the system says that the process has, and how many of
// them are pages of files, the program's own above all. Both are 0 where the system does not say.
func Process() (resident, files int64) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0
	}
	var size int64
	if n, err := fmt.Sscan(string(text), &size, &resident, &files); n < 3 || err != nil {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	return resident * page, files * page
}

// Program is the memory that the program has beside its buffers, as the Go runtime and the system say.
type Program struct {
	Heap        int64  // bytes of the objects that the last collection found in use
	Beside      int64  // bytes of stacks, of what the runtime needs for itself, and of pages of files
	Collections uint64 // so far
}

var programMetrics = []string{
	"/memory/classes/total:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes", "/memory/classes/heap/free:bytes",
	"/memory/classes/heap/released:bytes", "/gc/heap/live:bytes", "/gc/cycles/total:gc-cycles",
}

// MeasureProgram returns what the program needs now. Dead objects do not count, nor does free
// memory that the runtime keeps: both go back to the system when they are wanted (Collect).
func MeasureProgram() Program {
	samples := make([]metrics.Sample, len(programMetrics))
	for i, name := range programMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples)
	value := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	total, objects, live := value(0), value(1), value(5)
	beside := total - objects - value(2) - value(3) - value(4)
	if live == 0 || live > objects { // there was no collection yet
		live = objects
	}
	_, files := Process()
	return Program{Heap: live, Beside: beside + files, Collections: samples[6].Value.Uint64()}
}

// Collect frees the dead objects of the Go heap and gives idle memory of the runtime back to the
// system.
func Collect() {
	runtime.GC()         // takes what lies in a sync.Pool aside
	debug.FreeOSMemory() // frees that too
}
