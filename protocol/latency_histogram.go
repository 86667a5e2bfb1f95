package protocol

import (
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
)

// latencyHistogram writes, for each command that was called, how many calls took up to 1, 2, 4, ... µs.
func latencyHistogram(c *call, s *Server) {
	var rows []*command.Spec
	if len(c.args) == 2 {
		rows = s.table.All()
	}
	for i := 2; i < len(c.args); i++ {
		row := s.table.FindFull(c.arg(i))
		if row == nil {
			continue
		}
		rows = append(rows, row)
		if !strings.Contains(row.Full, "|") {
			rows = append(rows, row.Sub...)
		}
	}
	rows = slices.DeleteFunc(rows, func(row *command.Spec) bool { return s.statistics.commands[row.Index].calls.Load() == 0 })
	c.replies.Map(len(rows))
	for _, row := range rows {
		c.replies.Text(row.Full)
		writeHistogram(c.replies, &s.statistics.commands[row.Index])
	}
}

func writeHistogram(w *resp.Writer, stat *commandStat) {
	var bounds, counts []int64 // only where the count grows, as in Redis
	var calls int64
	for i := range stat.latency {
		if n := stat.latency[i].Load(); n > 0 {
			calls += n
			bounds, counts = append(bounds, 1<<i), append(counts, calls)
		}
	}
	w.Map(2)
	w.Text("calls")
	w.Int(calls)
	w.Text("histogram_usec")
	w.Map(len(bounds))
	for i := range bounds {
		w.Int(bounds[i])
		w.Int(counts[i])
	}
}
