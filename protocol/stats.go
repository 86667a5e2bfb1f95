package protocol

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// counters are totals since the start, or since CONFIG RESETSTAT.
type counters struct {
	connections, rejected, denied, authFailures, commands, errors, panics, protocolErrors    atomic.Int64
	bytesIn, bytesOut                                                                        atomic.Int64
	denyOOM, idleTimeouts, uploadStalls, slowUploads, busyUploads, replyStalls, outputLimits atomic.Int64
}

// commandStat is what is counted of one row of the command table.
type commandStat struct {
	calls, nanoseconds, rejected, failed atomic.Int64
	latency                              [latencyClasses]atomic.Int64 // class i: up to 2^i µs
}

const latencyClasses = 32

// slotStat is what is counted of the commands with keys of one slot.
type slotStat struct{ nanoseconds, bytesIn, bytesOut atomic.Int64 }

// statistics are counted a command. All but the errors, which are rare, are atomic.
type statistics struct {
	commands []commandStat // by Command.index
	slots    [topology.Slots]slotStat

	mu     sync.Mutex // guards errors
	errors map[string]int64
}

func newStatistics(rows int) *statistics {
	return &statistics{commands: make([]commandStat, rows), errors: make(map[string]int64)}
}

// observe counts a command that was executed.
func (s *statistics) observe(c *call, took time.Duration, failed bool, bytesOut int64) {
	stat := &s.commands[c.row.Index]
	stat.calls.Add(1)
	stat.nanoseconds.Add(int64(took))
	if failed {
		stat.failed.Add(1)
	}
	stat.latency[latencyClass(took)].Add(1)
	if c.slot != noSlot {
		slot := &s.slots[c.slot]
		slot.nanoseconds.Add(int64(took))
		slot.bytesIn.Add(resp.WireSize(c.args))
		slot.bytesOut.Add(bytesOut)
	}
}

func latencyClass(took time.Duration) int {
	µs := uint64((took + time.Microsecond - 1) / time.Microsecond)
	return min(bits.Len64(max(µs, 1)-1), latencyClasses-1)
}

// countError counts an error reply by its prefix, of which there are few.
func (s *Server) countError(text string) {
	prefix, _, _ := strings.Cut(text, " ")
	s.counters.errors.Add(1)
	s.statistics.mu.Lock()
	defer s.statistics.mu.Unlock()
	s.statistics.errors[prefix]++
}

// resetStats sets all totals to zero.
func (s *Server) resetStats() {
	c := &s.counters
	for _, counter := range []*atomic.Int64{
		&c.connections, &c.rejected, &c.denied, &c.authFailures, &c.commands, &c.errors, &c.panics, &c.protocolErrors, &c.bytesIn, &c.bytesOut,
		&c.denyOOM, &c.idleTimeouts, &c.uploadStalls, &c.slowUploads, &c.busyUploads, &c.replyStalls, &c.outputLimits,
	} {
		counter.Store(0)
	}
	for i := range s.statistics.commands {
		stat := &s.statistics.commands[i]
		for _, counter := range []*atomic.Int64{&stat.calls, &stat.nanoseconds, &stat.rejected, &stat.failed} {
			counter.Store(0)
		}
		for class := range stat.latency {
			stat.latency[class].Store(0)
		}
	}
	for i := range s.statistics.slots {
		slot := &s.statistics.slots[i]
		for _, counter := range []*atomic.Int64{&slot.nanoseconds, &slot.bytesIn, &slot.bytesOut} {
			counter.Store(0)
		}
	}
	s.statistics.mu.Lock()
	clear(s.statistics.errors)
	s.statistics.mu.Unlock()
	s.store.ResetStats()
}

// percentile returns the upper bound, in µs, of the class in which a part of the calls ends.
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

func infoCommandStats(_ *call, server *Server, _ Stats) (fields []infoField) {
	for _, row := range server.table.All() {
		stat := &server.statistics.commands[row.Index]
		calls, rejected := stat.calls.Load(), stat.rejected.Load()
		if calls == 0 && rejected == 0 {
			continue
		}
		µs := stat.nanoseconds.Load() / 1000
		each := float64(0)
		if calls > 0 {
			each = float64(µs) / float64(calls)
		}
		fields = append(fields, infoField{"cmdstat_" + row.Full, fmt.Sprintf("calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d",
			calls, µs, each, rejected, stat.failed.Load())})
	}
	return fields
}

func infoErrorStats(_ *call, server *Server, _ Stats) (fields []infoField) {
	s := server.statistics
	s.mu.Lock()
	defer s.mu.Unlock()
	for prefix, n := range s.errors {
		fields = append(fields, infoField{"errorstat_" + prefix, fmt.Sprintf("count=%d", n)})
	}
	slices.SortFunc(fields, func(a, b infoField) int { return strings.Compare(a.name, b.name) })
	return fields
}

func infoLatencyStats(_ *call, server *Server, _ Stats) (fields []infoField) {
	for _, row := range server.table.All() {
		stat := &server.statistics.commands[row.Index]
		if stat.calls.Load() == 0 {
			continue
		}
		fields = append(fields, infoField{"latency_percentiles_usec_" + row.Full, fmt.Sprintf("p50=%d,p99=%d,p99.9=%d",
			stat.percentile(0.5), stat.percentile(0.99), stat.percentile(0.999))})
	}
	return fields
}

// infoKeySizes tells how many arrays there are by the size of their .npy files: 64K=3 are three of 64 KiB up to 128 KiB.
func infoKeySizes(_ *call, server *Server, _ Stats) []infoField {
	var classes []string
	for i, n := range server.store.Sizes() {
		if n == 0 {
			continue
		}
		size := "0"
		if i > 0 {
			const units = " KMGTPE"
			size = strings.TrimSpace(fmt.Sprintf("%d%c", 1<<((i-1)%10), units[(i-1)/10]))
		}
		classes = append(classes, fmt.Sprintf("%s=%d", size, n))
	}
	if classes == nil {
		return nil
	}
	return []infoField{{"db0_distrib_ndarray_sizes", strings.Join(classes, ",")}}
}

// Stats is what a server counts. Totals are since the start, or since CONFIG RESETSTAT.
type Stats struct {
	Clients                                         int
	Connections, Rejected, Commands, Errors, Panics int64
	ProtocolErrors, Denied, AuthFailures            int64
	IdleTimeouts, UploadStalls, SlowUploads         int64
	BusyUploads, ReplyStalls, OutputLimits          int64
	DeniedOOM                                       int64
	BytesIn, BytesOut                               int64
	UploadBytes                                     int64 // of commands on their way in, now
	ReplyBytes                                      int64 // of replies that wait for their clients, now
	ValueBytes                                      int64 // in buffers: stored, arriving or being sent, now
	ClientBytes                                     int64 // in buffers: what clients have sent, arrays not included, now
	UsedMemory, MaxMemory                           int64 // of the process, now
	MaxClients                                      int
	Store                                           shard.Stats
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	clients := s.connections.count()
	c := &s.counters
	return Stats{
		ClientBytes: s.clients.Allocated(), UsedMemory: s.store.Memory().Used(), MaxMemory: s.store.Memory().Config().Limit, MaxClients: s.config.Load().MaxClients,
		Clients: clients, Connections: c.connections.Load(), Rejected: c.rejected.Load(),
		Commands: c.commands.Load(), Errors: c.errors.Load(), Panics: c.panics.Load(), ProtocolErrors: c.protocolErrors.Load(),
		Denied: c.denied.Load(), AuthFailures: c.authFailures.Load(),
		IdleTimeouts: c.idleTimeouts.Load(), UploadStalls: c.uploadStalls.Load(), SlowUploads: c.slowUploads.Load(),
		BusyUploads: c.busyUploads.Load(), ReplyStalls: c.replyStalls.Load(), OutputLimits: c.outputLimits.Load(),
		DeniedOOM: c.denyOOM.Load(),
		BytesIn:   c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		UploadBytes: s.budget.Used(), ReplyBytes: s.output.Waiting(), ValueBytes: s.pool.Bytes(), Store: s.store.Stats(),
	}
}
