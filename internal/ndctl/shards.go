package ndctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) shardsCommand() *cobra.Command {
	var node string
	var unserved bool
	c := &cobra.Command{
		Use: "shards", Short: "List the shards", Args: cobra.NoArgs,
		Long: `Lists the shards: the slots of each, who serves it, which other nodes have a copy in step, and where it is to be. A shard is
"down" when the node that serves it is, and "vacant" when nobody may serve it.`,
		Example: "  ndctl shards --unserved\n  ndctl shards --node node2",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.onCluster(c.Context(), func(v *view) error { return v.listShards(node, unserved) })
		},
	}
	a.nodeFlag(c, &node, "only those that this node serves, or has a copy of")
	c.Flags().BoolVar(&unserved, "unserved", false, "only those that nobody serves")
	return document(c, []shardReport{})
}

// nodeFlag adds --node, which the shell completes.
func (a *app) nodeFlag(c *cobra.Command, into *string, usage string) {
	c.Flags().StringVar(into, "node", "", usage+": `NODE` is a name, an id, or the beginning of either")
	if err := c.RegisterFlagCompletionFunc("node", a.completeNode); err != nil {
		panic(err) // the flag is there
	}
}

type shardReport struct {
	Shard    int      `json:"shard" doc:"number of the shard, from 0"`
	First    int      `json:"first_slot" doc:"its first slot"`
	Last     int      `json:"last_slot" doc:"its last slot"`
	State    string   `json:"state" doc:"served, down (its primary is), or vacant (it has no primary)"`
	Primary  string   `json:"primary" doc:"name of the node that serves it; empty for none"`
	InSync   []string `json:"in_sync" doc:"names of the nodes with a copy in step, the primary included"`
	Assigned []string `json:"assigned" doc:"names of the nodes where copies are to be, the primary's place first"`
	Epoch    uint64   `json:"epoch" doc:"number of its configuration"`
}

func (v *view) listShards(node string, unserved bool) error {
	id := ""
	if node != "" {
		m, err := v.find(node)
		if err != nil {
			return err
		}
		id = m.ID
	}
	reports := []shardReport{}
	for i, s := range v.told.Shards {
		if unserved && v.served(s) || id != "" && s.Primary != id && !slices.Contains(s.InSync, id) {
			continue
		}
		first, last := v.slotsOf(i)
		r := shardReport{
			Shard: i, First: first, Last: last, State: "served", Primary: v.nameOf(s.Primary), InSync: v.namesOf(s.InSync),
			Assigned: v.namesOf(s.Assigned), Epoch: s.Epoch,
		}
		switch {
		case s.Primary == "":
			r.State = "vacant"
		case !v.served(s):
			r.State = "down"
		}
		reports = append(reports, r)
	}
	return v.app.show(reports, func() { v.app.writeShards(reports) })
}

func (a *app) writeShards(all []shardReport) {
	t := newTable("SHARD", "SLOTS", "STATE", "PRIMARY", "IN SYNC", "ASSIGNED", "EPOCH")
	for _, r := range all {
		state, primary := green, r.Primary
		if r.State != "served" {
			state = red
		}
		if primary == "" {
			primary = "-"
		}
		t.add(number(int64(r.Shard)), text(slotsText(r.First, r.Last)), tinted(state, r.State), text(primary), text(strings.Join(r.InSync, ",")),
			text(strings.Join(r.Assigned, ",")), rightly(fmt.Sprint(r.Epoch)))
	}
	a.writeTable(t)
}

func slotsText(first, last int) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
