package ndctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
)

func shardsCommand(a *app) *cobra.Command {
	var node string
	var unserved bool
	c := &cobra.Command{
		Use: "shards", Short: "List the shards", Args: cobra.NoArgs,
		Long: `Lists the shards: their slots, their primary, the nodes with an in-sync copy, and the nodes that should have one. A shard is
"down" when its primary is down, and "vacant" when it has no primary; the last column says whom a vacant one waits for, or who catches up.`,
		Example: "  ndctl shards --unserved\n  ndctl shards --node node2",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withSession(c.Context(), func(s *session) error { return showShards(s, a.out, node, unserved) })
		},
	}
	a.nodeFlag(c, &node, "only shards of which this node has a copy")
	c.Flags().BoolVar(&unserved, "unserved", false, "only shards that are down or vacant")
	return document(c, shardReports{})
}

type shardReports []shardReport

type shardReport struct {
	Shard    int      `json:"shard" doc:"number of the shard, from 0"`
	First    int      `json:"first_slot" doc:"its first slot"`
	Last     int      `json:"last_slot" doc:"its last slot"`
	State    string   `json:"state" doc:"served, down (its primary is down), or vacant (it has no primary)"`
	Primary  string   `json:"primary" doc:"name of its primary; empty if it has none"`
	InSync   []string `json:"in_sync" doc:"names of the nodes with an in-sync copy, the primary included"`
	Assigned []string `json:"assigned" doc:"names of the nodes that should have copies, the preferred primary first"`
	Unclean  []string `json:"unclean" doc:"names of the nodes whose in-sync copy may lack writes that it acknowledged"`
	Learners []string `json:"learners" doc:"names of the nodes whose copy catches up"`
	Degraded bool     `json:"degraded" doc:"true if it is served and has only one clean copy in sync, although more nodes should have one"`
	WaitsFor string   `json:"waits_for,omitempty" doc:"why it has no primary: copy (one of waits_on reports), all (all of them do), begin-empty (its last copy was wiped), or node (an active node is up)"`
	WaitsOn  []string `json:"waits_on,omitempty" doc:"names of the nodes that it waits for; of begin-empty, those that had the last copies"`
	Epoch    uint64   `json:"epoch" doc:"epoch of the shard row"`
}

func showShards(s *session, p *printer, node string, unserved bool) error {
	var id topology.NodeID
	if node != "" {
		m, err := s.find(node)
		if err != nil {
			return err
		}
		id = m.ID
	}
	c, reports := s.cluster, shardReports{}
	for i, row := range c.Shards {
		served := c.Served(i)
		if unserved && served || id != "" && row.Primary != id && !slices.Contains(row.InSync, id) && !slices.Contains(row.Learners, id) {
			continue
		}
		first, last := c.Slots(i)
		r := shardReport{
			Shard: i, First: first, Last: last, State: "served", Primary: c.Label(row.Primary), InSync: c.Labels(row.InSync), Assigned: c.Labels(row.Assigned), Epoch: row.Epoch,
			Unclean: c.Labels(row.Unclean), Learners: c.Labels(row.Learners), Degraded: c.Degraded(i), WaitsFor: string(row.WaitsFor), WaitsOn: c.Labels(row.WaitsOn),
		}
		switch {
		case row.Primary == "":
			r.State = "vacant"
		case !served:
			r.State = "down"
		}
		reports = append(reports, r)
	}
	return p.show(reports)
}

func (all shardReports) print(p *printer) {
	t := newTable("SHARD", "SLOTS", "STATE", "PRIMARY", "IN SYNC", "ASSIGNED", "EPOCH")
	noted := slices.ContainsFunc(all, func(r shardReport) bool { return r.note() != "" })
	if noted {
		t.titles = append(t.titles, "NOTE")
	}
	for i := range all {
		r := &all[i]
		state, primary := green, r.Primary
		if r.State != "served" {
			state = red
		}
		if primary == "" {
			primary = "-"
		}
		row := []cell{number(int64(r.Shard)), text(slotsText(r.First, r.Last)), tinted(state, r.State), text(primary), text(strings.Join(r.InSync, ",")),
			text(strings.Join(r.Assigned, ",")), rightAligned(fmt.Sprint(r.Epoch))}
		if noted {
			row = append(row, text(r.note()))
		}
		t.add(row...)
	}
	t.print(p)
}

// note says whom the shard waits for, or which of its copies are behind.
func (r *shardReport) note() string {
	var notes []string
	add := func(names []string, what string) {
		if len(names) > 0 {
			notes = append(notes, what+" "+strings.Join(names, ","))
		}
	}
	if r.WaitsFor != "" {
		add(r.WaitsOn, "waits for")
	}
	add(r.Unclean, "unclean:")
	add(r.Learners, "catches up:")
	return strings.Join(notes, "; ")
}

func slotsText(first, last int) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
