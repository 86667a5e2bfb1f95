package protocol

import (
	"fmt"
	"slices"
	"strings"
)

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

// infoKeySizes counts arrays by the size of their .npy files: 64K=3 means three from 64 KiB up to 128 KiB.
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
