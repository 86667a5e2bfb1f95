package ndctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show in one screen whether the cluster is well", Args: cobra.NoArgs,
		Long:    "Shows in one screen whether the cluster is well, and if not, why. Exit code 0 if all is well, 1 if something is not.",
		Example: "  ndctl status\n  ndctl status --addr node1:7379,node2:7379 --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.onCluster(c.Context(), func(v *view) error { return v.status(c.Context()) })
		},
	}
	return document(c, statusReport{})
}

type statusReport struct {
	Cluster        string   `json:"cluster_id" doc:"id of the cluster"`
	Healthy        bool     `json:"healthy" doc:"whether nothing is amiss"`
	Problems       []string `json:"problems" doc:"what is amiss, in words; they may change from version to version"`
	Nodes          int      `json:"nodes" doc:"nodes of the cluster"`
	NodesUp        int      `json:"nodes_up" doc:"of them, those that answered"`
	NodesDown      []string `json:"nodes_down" doc:"names of the others"`
	Shards         int      `json:"shards" doc:"shards of the cluster"`
	ShardsServed   int      `json:"shards_served" doc:"of them, those with a primary that lives"`
	ShardsUnserved int      `json:"shards_unserved" doc:"the others: their keys are answered CLUSTERDOWN"`
	Leader         string   `json:"leader" doc:"name of the node that leads; empty for none"`
	Term           uint64   `json:"term" doc:"raft's term"`
	Voters         int      `json:"voters" doc:"nodes whose majority decides"`
	Quorum         bool     `json:"quorum" doc:"whether a majority of them is there: the topology can change"`
	Keys           int64    `json:"keys" doc:"keys of the nodes that answered"`
	Memory         int64    `json:"memory_bytes" doc:"memory that they use"`
	MaxMemory      int64    `json:"maxmemory_bytes" doc:"sum of their limits; 0 if one has none"`
	Asked          string   `json:"asked" doc:"address of the node whose view this is"`
}

func (v *view) status(ctx context.Context) error {
	infos, failed := v.infos(ctx, "INFO")
	r := v.report(infos, failed, time.Now())
	err := v.app.show(r, func() { v.app.writeStatus(r) })
	if err == nil && !r.Healthy {
		return errSaid
	}
	return err
}

// report puts together how the cluster is.
func (v *view) report(infos []info, failed []failure, now time.Time) statusReport {
	r := statusReport{
		Cluster: v.told.Cluster, Nodes: len(v.nodes), NodesDown: []string{}, Shards: len(v.told.Shards), Leader: v.nameOf(v.told.Leader), Term: v.told.Term,
		Voters: len(v.told.Voters), Quorum: v.told.Quorum && v.told.Leader != "", Asked: v.entry, Problems: []string{},
	}
	if !r.Quorum {
		r.Leader = "" // the one that there was
	}
	limited := true
	for i, m := range v.nodes {
		if err := errorOf(failed, m); err != nil {
			r.NodesDown = append(r.NodesDown, m.label())
			r.Problems = append(r.Problems, v.whyDown(m, err, now))
			continue
		}
		r.NodesUp++
		r.Keys += infos[i].keys()
		r.Memory += infos[i].number("used_memory")
		r.MaxMemory += infos[i].number("maxmemory")
		limited = limited && infos[i].number("maxmemory") > 0
		for _, p := range troubles(infos[i]) {
			r.Problems = append(r.Problems, fmt.Sprintf("%s %s", m.label(), p))
		}
		if !m.Up {
			r.Problems = append(r.Problems, fmt.Sprintf("%s answers, but %s does not see it: are they cut off from each other?", m.label(), v.nameOf(v.told.Self)))
		}
	}
	if !limited {
		r.MaxMemory = 0
	}
	r.Problems = append(r.Problems, v.unserved(&r)...)
	if !r.Quorum {
		r.Problems = append(r.Problems, v.noQuorum())
	}
	r.Healthy = len(r.Problems) == 0
	return r
}

func (v *view) whyDown(m *member, err error, now time.Time) string {
	text := m.label()
	if m.address != "" {
		text += " (" + m.address + ")"
	}
	if rightsHint(err) != "" {
		return fmt.Sprintf("%s does not tell how it is: %s", text, words(err))
	}
	if m.Up {
		return fmt.Sprintf("%s does not answer here, though %s sees it: %s", text, v.nameOf(v.told.Self), words(err))
	}
	if m.Since > 0 {
		return fmt.Sprintf("%s is down since %s: %s", text, durationText(max(0, now.Sub(time.UnixMilli(m.Since)))), words(err))
	}
	return fmt.Sprintf("%s is down: %s", text, words(err))
}

// unserved counts shards, and says where those are that nobody serves.
func (v *view) unserved(r *statusReport) (problems []string) {
	lost := map[string]int{} // by what has them
	for _, s := range v.told.Shards {
		if v.served(s) {
			r.ShardsServed++
			continue
		}
		r.ShardsUnserved++
		has := s.InSync
		if s.Primary != "" {
			has = []string{s.Primary}
		}
		lost[strings.Join(v.namesOf(has), " or ")]++
	}
	var where []string
	for name, n := range lost {
		text := fmt.Sprintf("%d of %s", n, name)
		if name == "" {
			text = fmt.Sprintf("%d that nobody has", n)
		}
		where = append(where, text)
	}
	slices.Sort(where)
	if r.ShardsUnserved > 0 {
		problems = append(problems, fmt.Sprintf("%d of %s not served: %s", r.ShardsUnserved, plural(r.Shards, "shard"), strings.Join(where, ", ")))
	}
	return problems
}

func (v *view) noQuorum() string {
	up := 0
	var missing []string
	for _, id := range v.told.Voters {
		if m := v.byID(id); m != nil && m.Up {
			up++
		} else {
			missing = append(missing, v.nameOf(id))
		}
	}
	slices.Sort(missing)
	text := fmt.Sprintf("no quorum: %d of %s up, so that nothing can be decided", up, plural(len(v.told.Voters), "voter"))
	if len(missing) > 0 {
		text += "; missing: " + strings.Join(missing, ", ")
	}
	if up <= len(v.told.Voters)/2 {
		text += ". If they are gone for good: ndctl raft recover"
	}
	return text
}

// troubles says what is amiss with a node by what it says itself.
func troubles(i info) (all []string) {
	if text := i["cluster_waiting_for"]; text != "" {
		all = append(all, "waits for "+text)
	}
	if names := i["cluster_settings_refused"]; names != "" {
		all = append(all, "cannot apply settings of the cluster ("+names+"), and goes on with its own: its log says why")
	}
	if i.number("loading") == 1 {
		all = append(all, "still reads its shards from disk")
	}
	if n := i.number("disk_stopped_shards"); n > 0 {
		all = append(all, fmt.Sprintf("has %s read-only since their disk failed: restart it when the disk is well", plural(int(n), "shard")))
	}
	if i.number("disk_full") > 0 {
		all = append(all, "has a full disk (disk-reserve): writes are refused")
	}
	if status := i["aof_last_write_status"]; status != "" && status != "ok" {
		all = append(all, "could not write to its log")
	}
	if status := i["rdb_last_bgsave_status"]; status != "" && status != "ok" {
		all = append(all, "could not write its last snapshot")
	}
	return all
}

func (a *app) writeStatus(r statusReport) {
	a.fact("cluster", "%s", r.Cluster)
	if r.Healthy {
		a.fact("health", "%s", a.paint(green, "ok"))
	} else {
		a.fact("health", "%s", a.paint(red, plural(len(r.Problems), "problem")))
		for _, p := range r.Problems {
			fmt.Fprintf(a.out, "           - %s\n", p)
		}
	}
	tail := ""
	if len(r.NodesDown) > 0 {
		tail = "; down: " + a.paint(red, strings.Join(r.NodesDown, ", "))
	}
	a.fact("nodes", "%d of %d up%s", r.NodesUp, r.Nodes, tail)
	a.fact("shards", "%d of %d served", r.ShardsServed, r.Shards)
	leader, quorum := r.Leader, "quorum"
	if leader == "" {
		leader = a.paint(red, "none")
	}
	if !r.Quorum {
		quorum = a.paint(red, "no quorum")
	}
	a.fact("leader", "%s, term %d, %s, %s", leader, r.Term, plural(r.Voters, "voter"), quorum)
	a.fact("keys", "%d", r.Keys)
	if r.MaxMemory > 0 {
		a.fact("memory", "%s of %s", bytesText(r.Memory), bytesText(r.MaxMemory))
	} else {
		a.fact("memory", "%s", bytesText(r.Memory))
	}
}
