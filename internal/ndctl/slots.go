package ndctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

func slotsCommand(a *app) *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "slots", Short: "List the slot ranges with their keys and memory", Args: cobra.NoArgs,
		Long: "Lists the ranges of slots that a node serves, with the number of keys in them and the memory that they use (CLUSTER SLOT-STATS).",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withSession(c.Context(), func(s *session) error { return showSlots(c.Context(), s, a.out, node) })
		},
	}
	a.nodeFlag(c, &node, "only slots of this node")
	return document(c, slotReports{})
}

type slotReports []*slotRangeReport

type slotRangeReport struct {
	First   int    `json:"first" doc:"first slot"`
	Last    int    `json:"last" doc:"last slot"`
	Node    string `json:"node" doc:"name of the node that serves them; empty if they have no primary"`
	Keys    *int64 `json:"keys" doc:"keys in them; null if the node does not answer"`
	Memory  *int64 `json:"memory_bytes" doc:"memory that these keys use; null if the node does not answer"`
	primary topology.NodeID
}

// newSlotReports returns the ranges of neighbouring slots with the same primary.
func newSlotReports(c *view.Cluster) (all slotReports) {
	for i, row := range c.Shards {
		first, last := c.Slots(i)
		if n := len(all); n > 0 && all[n-1].primary == row.Primary {
			all[n-1].Last = last
			continue
		}
		all = append(all, &slotRangeReport{First: first, Last: last, Node: c.Label(row.Primary), primary: row.Primary})
	}
	return all
}

func showSlots(ctx context.Context, s *session, p *printer, node string) error {
	reports, asked := newSlotReports(s.cluster), []*member{}
	for _, m := range s.members {
		if slices.ContainsFunc(reports, func(r *slotRangeReport) bool { return r.primary == m.ID }) {
			asked = append(asked, m)
		}
	}
	if node != "" {
		m, err := s.find(node)
		if err != nil {
			return err
		}
		reports = slices.DeleteFunc(reports, func(r *slotRangeReport) bool { return r.primary != m.ID })
		asked = slices.DeleteFunc(asked, func(o *member) bool { return o != m })
	}
	failed := each(ctx, asked, func(ctx context.Context, _ int, m *member) error { return reports.count(ctx, m) })
	if err := p.show(reports); err != nil {
		return err
	}
	return p.failures(failed)
}

// count asks a node for its slots and adds up their keys and memory. It touches only the reports of
// that node, so several nodes can be counted concurrently.
func (all slotReports) count(ctx context.Context, m *member) error {
	reply, err := m.do(ctx, "CLUSTER", "SLOT-STATS", "SLOTSRANGE", 0, topology.Slots-1).Slice()
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.primary == m.ID {
			r.Keys, r.Memory = new(int64), new(int64)
		}
	}
	for _, entry := range reply {
		pair, _ := entry.([]any)
		if len(pair) != 2 {
			continue
		}
		slot, _ := pair[0].(int64)
		at, found := slices.BinarySearchFunc(all, int(slot), func(r *slotRangeReport, slot int) int {
			if slot >= r.First && slot <= r.Last {
				return 0
			}
			return cmp.Compare(r.First, slot)
		})
		if !found || all[at].primary != m.ID { // the slot has moved since the topology was fetched
			continue
		}
		stats, _ := pair[1].([]any)
		for i := 0; i+1 < len(stats); i += 2 {
			n, _ := stats[i+1].(int64)
			switch stats[i] {
			case "key-count":
				*all[at].Keys += n
			case "memory-bytes":
				*all[at].Memory += n
			}
		}
	}
	return nil
}

func (all slotReports) print(p *printer) {
	t := newTable("SLOTS", "COUNT", "NODE", "KEYS", "MEMORY")
	for _, r := range all {
		keys, memory, node := unknown, unknown, text(r.Node)
		if r.Keys != nil {
			keys, memory = number(*r.Keys), size(*r.Memory)
		}
		if r.primary == "" {
			node = tinted(red, "none")
		}
		t.add(text(slotsText(r.First, r.Last)), rightAligned(fmt.Sprint(r.Last-r.First+1)), node, keys, memory)
	}
	t.print(p)
}
