package memory

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Process returns the resident memory of the process in bytes and how much of it is pages of files,
// mostly the program's own. Both are 0 where the system does not tell.
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

// Program is the memory of the program besides its buffers, as reported by the Go runtime and the
// system.
type Program struct {
	Heap        int64  // bytes of objects that the last collection found alive
	Beside      int64  // bytes of stacks, the runtime's own structures and pages of files
	Collections uint64 // so far
}

var programMetrics = []string{
	"/memory/classes/total:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes", "/memory/classes/heap/free:bytes",
	"/memory/classes/heap/released:bytes", "/gc/heap/live:bytes", "/gc/cycles/total:gc-cycles",
}

// MeasureProgram returns what the program needs now. Dead objects and free memory of the runtime do
// not count: Collect returns both to the system.
func MeasureProgram() Program {
	samples := make([]metrics.Sample, len(programMetrics))
	for i, name := range programMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples)
	value := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	total, objects, live := value(0), value(1), value(5)
	beside := total - objects - value(2) - value(3) - value(4)
	if live == 0 || live > objects { // no collection has run yet
		live = objects
	}
	_, files := Process()
	return Program{Heap: live, Beside: beside + files, Collections: samples[6].Value.Uint64()}
}

// Collect frees the dead objects of the Go heap and returns idle memory of the runtime to the system.
func Collect() {
	runtime.GC()         // moves the contents of every sync.Pool to its victim cache
	debug.FreeOSMemory() // collects again and so frees them too
}
