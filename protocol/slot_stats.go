package protocol

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
)

// slotMetrics are the statistics of a slot, with the names of Redis and Valkey.
var slotMetrics = []struct {
	name string
	of   func(*Server, int) int64
}{
	{"key-count", func(s *Server, slot int) int64 { keys, _ := s.store.SlotStats(slot); return int64(keys) }},
	{"cpu-usec", func(s *Server, slot int) int64 { return s.statistics.slots[slot].nanoseconds.Load() / 1000 }},
	{"network-bytes-in", func(s *Server, slot int) int64 { return s.statistics.slots[slot].bytesIn.Load() }},
	{"network-bytes-out", func(s *Server, slot int) int64 { return s.statistics.slots[slot].bytesOut.Load() }},
	{"memory-bytes", func(s *Server, slot int) int64 { _, bytes := s.store.SlotStats(slot); return bytes }},
}

// The texts are those of Valkey, which had the command first.
var (
	errSlot      = errors.New("Invalid or out of range slot")
	errSlotStats = errors.New("unknown subcommand or wrong number of arguments for 'slot-stats'. Try CLUSTER HELP.")
)

func clusterSlotStats(c *call, s *Server) {
	switch c.option(2) {
	case "SLOTSRANGE":
		if len(c.args) != 5 {
			c.replies.Error(errSlotStats)
			return
		}
		first, ok := resp.ParseInt(c.arg(3))
		last, ok2 := resp.ParseInt(c.arg(4))
		switch {
		case !ok || !ok2 || first < 0 || last < 0 || first >= topology.Slots || last >= topology.Slots:
			c.replies.Error(errSlot)
			return
		case first > last:
			c.replies.Error(fmt.Errorf("Start slot number %d is greater than end slot number %d", first, last))
			return
		}
		var slots []int
		for slot := int(first); slot <= int(last); slot++ {
			slots = append(slots, slot)
		}
		writeSlotStats(c, s, s.router.ownSlots(slots))
	case "ORDERBY":
		slotsByMetric(c, s)
	default:
		c.replies.Error(errSlotStats)
	}
}

func slotsByMetric(c *call, s *Server) {
	var of func(*Server, int) int64
	for _, metric := range slotMetrics {
		if upper(metric.name) == c.option(3) {
			of = metric.of
		}
	}
	if of == nil {
		c.replies.Error(errors.New("Unrecognized sort metric for ORDERBY."))
		return
	}
	limit, sign := int64(topology.Slots), -1
	var limited, ordered bool
	for i := 4; i < len(c.args); i++ {
		switch option := c.option(i); {
		case ordered && (option == "ASC" || option == "DESC"), limited && option == "LIMIT":
			c.replies.Error(errors.New("Multiple filters of the same type are disallowed."))
			return
		case option == "ASC":
			sign, ordered = 1, true
		case option == "DESC":
			ordered = true
		case option == "LIMIT" && i+1 < len(c.args):
			i++
			limited = true
			n, ok := resp.ParseInt(c.arg(i))
			if !ok || n < 1 || n > topology.Slots {
				c.replies.Error(errors.New("Limit has to lie in between 1 and 16384 (maximum number of slots)."))
				return
			}
			limit = n
		default:
			c.replies.Error(errSyntax)
			return
		}
	}
	all := make([]int, topology.Slots)
	values := make([]int64, topology.Slots) // read once, since they change during the sort
	for slot := range all {
		all[slot], values[slot] = slot, of(s, slot)
	}
	slots := s.router.ownSlots(all)
	slices.SortStableFunc(slots, func(a, b int) int { return sign * cmp.Compare(values[a], values[b]) })
	writeSlotStats(c, s, slots[:min(int(limit), len(slots))])
}

// ownSlots returns those of the slots that this node serves.
func (r *router) ownSlots(slots []int) []int {
	topo, self := r.cluster.Topology(), r.cluster.Self()
	return slices.DeleteFunc(slots, func(slot int) bool { return !serves(topo, self, slot) })
}

func writeSlotStats(c *call, s *Server, slots []int) {
	w := c.replies
	w.Array(len(slots))
	for _, slot := range slots {
		w.Array(2)
		w.Int(int64(slot))
		w.Map(len(slotMetrics))
		for _, metric := range slotMetrics {
			w.Text(metric.name)
			w.Int(metric.of(s, slot))
		}
	}
}
