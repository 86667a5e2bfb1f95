package protocol

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/command"
)

// counters are totals since the start, or since CONFIG RESETSTAT.
type counters struct {
	connections, rejected, denied, authFailures, commands, errors, panics, protocolErrors    atomic.Int64
	bytesIn, bytesOut                                                                        atomic.Int64
	handshakeFailures                                                                        atomic.Int64
	unsettled                                                                                atomic.Int64 // replies that a commit or lease that did not come has replaced
	denyOOM, idleTimeouts, uploadStalls, slowUploads, busyUploads, replyStalls, outputLimits atomic.Int64
}

// commandStat counts the calls of one row of the command table.
type commandStat struct {
	calls, nanoseconds, rejected, failed atomic.Int64
	latency                              [latencyClasses]atomic.Int64 // class i: up to 2^i µs
}

const latencyClasses = 32

// slotStat counts the commands on keys of one slot.
type slotStat struct{ nanoseconds, bytesIn, bytesOut atomic.Int64 }

// statistics are counters for each command. All are atomic, except errors, which are rare.
type statistics struct {
	commands []commandStat // by Spec.Index
	slots    [topology.Slots]slotStat

	mu     sync.Mutex // guards errors
	errors map[string]int64
}

func newStatistics(rows int) *statistics {
	return &statistics{commands: make([]commandStat, rows), errors: make(map[string]int64)}
}

// observe counts an executed command, with its bytes if it has keys.
func (s *statistics) observe(row *command.Spec, slot int, took time.Duration, failed bool, bytesIn, bytesOut int64) {
	stat := &s.commands[row.Index]
	stat.calls.Add(1)
	stat.nanoseconds.Add(int64(took))
	if failed {
		stat.failed.Add(1)
	}
	stat.latency[latencyClass(took)].Add(1)
	if slot != noSlot {
		of := &s.slots[slot]
		of.nanoseconds.Add(int64(took))
		of.bytesIn.Add(bytesIn)
		of.bytesOut.Add(bytesOut)
	}
}

func latencyClass(took time.Duration) int {
	µs := uint64((took + time.Microsecond - 1) / time.Microsecond)
	return min(bits.Len64(max(µs, 1)-1), latencyClasses-1)
}

// percentile returns the upper bound, in µs, of the class that holds a percentile of the calls.
func (stat *commandStat) percentile(part float64) int64 {
	var total, seen int64
	for i := range stat.latency {
		total += stat.latency[i].Load()
	}
	for i := range stat.latency {
		if seen += stat.latency[i].Load(); float64(seen) >= part*float64(total) {
			return 1 << i
		}
	}
	return 1 << (latencyClasses - 1)
}
