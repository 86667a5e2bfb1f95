package ndctl

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

func statusCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show on one screen whether the cluster is healthy", Args: cobra.NoArgs,
		Long:    "Shows on one screen whether the cluster is healthy and, if it is not, why. The exit code is 0 if it is healthy and 1 if it is not.",
		Example: "  ndctl status\n  ndctl status --addr node1:7379,node2:7379 --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withSession(c.Context(), func(s *session) error { return showStatus(c.Context(), s, a.out) })
		},
	}
	return document(c, statusReport{})
}

type statusReport struct {
	Cluster        string   `json:"cluster_id" doc:"cluster id"`
	Healthy        bool     `json:"healthy" doc:"true if there are no problems"`
	Problems       []string `json:"problems" doc:"what is wrong, in words that may change from version to version"`
	Nodes          int      `json:"nodes" doc:"nodes of the cluster"`
	NodesUp        int      `json:"nodes_up" doc:"nodes that answered"`
	NodesDown      []string `json:"nodes_down" doc:"names of the nodes that did not"`
	Shards         int      `json:"shards" doc:"shards of the cluster"`
	ShardsServed   int      `json:"shards_served" doc:"shards whose primary is alive"`
	ShardsUnserved int      `json:"shards_unserved" doc:"the other shards; commands on their keys fail with CLUSTERDOWN"`
	ShardsWiped    int      `json:"shards_wiped" doc:"those of them that have lost their last copy and wait to begin empty (ndctl begin-empty)"`
	ShardsUnclean  int      `json:"shards_unclean" doc:"shards with an in-sync copy that may lack writes that it acknowledged"`
	ShardsDegraded int      `json:"shards_degraded" doc:"served shards with only one clean copy in sync, although more nodes should have one"`
	Notes          []string `json:"notes" doc:"what is not wrong, but good to know, in words that may change: the limits of two nodes, and what moves"`
	PossibleLosses uint64   `json:"possible_losses" doc:"decisions, since the cluster was made, by which a shard may have lost acknowledged writes"`
	Leader         string   `json:"leader" doc:"name of raft's leader; empty if there is none"`
	Term           uint64   `json:"term" doc:"raft's term"`
	Voters         int      `json:"voters" doc:"nodes that vote on changes of the topology"`
	Quorum         bool     `json:"quorum" doc:"true if a majority of the voters is up, so the topology can change"`
	Keys           int64    `json:"keys" doc:"keys on the nodes that answered"`
	Memory         int64    `json:"memory_bytes" doc:"memory that these nodes use"`
	MaxMemory      int64    `json:"maxmemory_bytes" doc:"sum of their limits; 0 if one of them has no limit"`
	Asked          string   `json:"asked" doc:"address of the node whose view this is"`
}

func showStatus(ctx context.Context, s *session, p *printer) error {
	var moves []string
	var wait sync.WaitGroup
	wait.Go(func() { moves = movesNotes(ctx, s.self()) })
	infos, failed := s.infos(ctx, "INFO")
	wait.Wait()
	r := newStatusReport(s, infos, failed, time.Now())
	r.Notes = append(r.Notes, moves...)
	err := p.show(r)
	if err == nil && !r.Healthy {
		return errPrinted
	}
	return err
}

// newStatusReport adds up what the nodes report, and judges it.
func newStatusReport(s *session, infos []info, failed nodeFailures, now time.Time) statusReport {
	r := statusReport{
		Cluster: s.cluster.ID, Nodes: len(s.members), Shards: len(s.cluster.Shards), Term: s.cluster.Term, Voters: len(s.cluster.Voters), Asked: s.entry,
	}
	reports := make([]view.Report, len(s.members))
	limited := true
	for i, m := range s.members {
		if err := failed.of(m); err != nil {
			reports[i] = view.Report{Address: m.address, Err: explain(err), Denied: rightsHint(err) != ""}
			continue
		}
		reports[i] = infos[i].report(m.address)
		r.NodesUp++
		r.Keys += infos[i].keys()
		r.Memory += infos[i].number("used_memory")
		r.MaxMemory += infos[i].number("maxmemory")
		limited = limited && infos[i].number("maxmemory") > 0
	}
	if !limited {
		r.MaxMemory = 0
	}
	h := s.cluster.Health(reports, now)
	r.Healthy, r.Problems, r.NodesDown = len(h.Problems) == 0, h.Problems, h.Down
	r.ShardsServed, r.ShardsUnserved = h.Served, h.Unserved
	r.ShardsWiped, r.PossibleLosses = len(s.cluster.Wiped()), s.cluster.Losses
	for i, row := range s.cluster.Shards {
		if len(row.Unclean) > 0 {
			r.ShardsUnclean++
		}
		if s.cluster.Degraded(i) {
			r.ShardsDegraded++
		}
	}
	r.Notes = s.cluster.Notes()
	r.Leader, r.Quorum = s.cluster.Label(h.Leader), h.Quorum
	return r
}

func (r statusReport) print(p *printer) {
	p.fact("cluster", "%s", r.Cluster)
	if r.Healthy {
		p.fact("health", "%s", p.paint(green, "ok"))
	} else {
		p.fact("health", "%s", p.paint(red, plural(len(r.Problems), "problem")))
		for _, problem := range r.Problems {
			p.printf("           - %s\n", problem)
		}
	}
	down := ""
	if len(r.NodesDown) > 0 {
		down = "; down: " + p.paint(red, strings.Join(r.NodesDown, ", "))
	}
	p.fact("nodes", "%d of %d up%s", r.NodesUp, r.Nodes, down)
	copies := ""
	if r.ShardsDegraded > 0 {
		copies = "; " + p.paint(yellow, plural(r.ShardsDegraded, "shard")+" with one clean copy")
	}
	p.fact("shards", "%d of %d served%s", r.ShardsServed, r.Shards, copies)
	if r.PossibleLosses > 0 {
		p.fact("losses", "%s by which a shard may have lost acknowledged writes, since the cluster was made", plural(int(r.PossibleLosses), "decision"))
	}
	leader, quorum := r.Leader, "quorum"
	if leader == "" {
		leader = p.paint(red, "none")
	}
	if !r.Quorum {
		quorum = p.paint(red, "no quorum")
	}
	p.fact("leader", "%s, term %d, %s, %s", leader, r.Term, plural(r.Voters, "voter"), quorum)
	p.fact("keys", "%d", r.Keys)
	if r.MaxMemory > 0 {
		p.fact("memory", "%s of %s", bytesText(r.Memory), bytesText(r.MaxMemory))
	} else {
		p.fact("memory", "%s", bytesText(r.Memory))
	}
	for _, note := range r.Notes {
		p.fact("note", "%s", note)
	}
}
