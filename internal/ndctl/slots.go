package ndctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
)

func (a *app) slotsCommand() *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "slots", Short: "List the runs of slots, with their keys and bytes", Args: cobra.NoArgs,
		Long: "Lists which node serves which slots, with the keys there and the memory that they take (CLUSTER SLOT-STATS).",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.onCluster(c.Context(), func(v *view) error { return v.slots(c.Context(), node) })
		},
	}
	a.nodeFlag(c, &node, "only those of this node")
	return document(c, []slotsReport{})
}

type slotsReport struct {
	First  int    `json:"first" doc:"first slot"`
	Last   int    `json:"last" doc:"last slot"`
	Node   string `json:"node" doc:"name of the node that serves them; empty for none"`
	Keys   *int64 `json:"keys" doc:"keys in them; null if the node does not tell"`
	Memory *int64 `json:"memory_bytes" doc:"memory that they take; likewise"`
	id     string
}

// runs returns runs of slots of one node.
func (v *view) runs() (all []*slotsReport) {
	for i, s := range v.told.Shards {
		first, last := v.slotsOf(i)
		if n := len(all); n > 0 && all[n-1].id == s.Primary {
			all[n-1].Last = last
			continue
		}
		all = append(all, &slotsReport{First: first, Last: last, Node: v.nameOf(s.Primary), id: s.Primary})
	}
	return all
}

func (v *view) slots(ctx context.Context, node string) error {
	reports, asked := v.runs(), []*member{}
	for _, m := range v.nodes {
		if slices.ContainsFunc(reports, func(r *slotsReport) bool { return r.id == m.ID }) {
			asked = append(asked, m)
		}
	}
	if node != "" {
		m, err := v.find(node)
		if err != nil {
			return err
		}
		reports = slices.DeleteFunc(reports, func(r *slotsReport) bool { return r.id != m.ID })
		asked = slices.DeleteFunc(asked, func(o *member) bool { return o != m })
	}
	failed := each(ctx, asked, func(ctx context.Context, _ int, m *member) error { return m.count(ctx, reports) })
	if err := v.app.show(reports, func() { v.app.writeSlots(reports) }); err != nil {
		return err
	}
	return v.app.partial(failed)
}

// count fills in the keys and bytes of the runs that a node serves.
func (m *member) count(ctx context.Context, all []*slotsReport) error {
	reply, err := m.do(ctx, "CLUSTER", "SLOT-STATS", "SLOTSRANGE", 0, topology.Slots-1).Slice()
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.id == m.ID {
			r.Keys, r.Memory = new(int64), new(int64)
		}
	}
	for _, row := range reply {
		pair, _ := row.([]any)
		if len(pair) != 2 {
			continue
		}
		slot, _ := pair[0].(int64)
		at, found := slices.BinarySearchFunc(all, int(slot), func(r *slotsReport, slot int) int {
			if slot >= r.First && slot <= r.Last {
				return 0
			}
			return cmp.Compare(r.First, slot)
		})
		if !found || all[at].id != m.ID { // it moved meanwhile
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

func (a *app) writeSlots(all []*slotsReport) {
	t := newTable("SLOTS", "COUNT", "NODE", "KEYS", "MEMORY")
	for _, r := range all {
		keys, memory, name := unknown, unknown, text(r.Node)
		if r.Keys != nil {
			keys, memory = number(*r.Keys), sizeCell(*r.Memory)
		}
		if r.id == "" {
			name = tinted(red, "nobody")
		}
		t.add(text(slotsText(r.First, r.Last)), rightly(fmt.Sprint(r.Last-r.First+1)), name, keys, memory)
	}
	a.writeTable(t)
}
