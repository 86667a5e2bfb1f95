package ndctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) raftCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "raft", Short: "See how the nodes agree, and help when they cannot",
		Long: "Shows how the nodes agree on the topology, and is the way out when a majority of the voters is lost for good.",
	}
	container(c)
	c.AddCommand(a.raftStatusCommand(), a.raftRecoverCommand(), a.raftRejoinCommand())
	return c
}

func (a *app) raftStatusCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show who leads, who votes, and how far each node is", Args: cobra.NoArgs,
		Long: "Shows who leads, who votes, and how far each node is, as each node itself sees it. Exit code 1 if there is no quorum, or a node does not answer.",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.onCluster(c.Context(), func(v *view) error { return v.raftStatus(c.Context()) })
		},
	}
	return document(c, raftReport{})
}

type raftReport struct {
	Leader   string           `json:"leader" doc:"name of the node that leads, as most nodes see it; empty for none"`
	Term     uint64           `json:"term" doc:"the highest term that a node knows"`
	Voters   []string         `json:"voters" doc:"names of the nodes whose majority decides"`
	Majority int              `json:"majority" doc:"how many of them it takes"`
	Up       int              `json:"voters_up" doc:"how many of them answer"`
	Quorum   bool             `json:"quorum" doc:"whether a node sees a leader that was heard from lately"`
	Nodes    []raftNodeReport `json:"nodes" doc:"each node as it sees itself"`
}

type raftNodeReport struct {
	Name     string  `json:"name" doc:"of the node"`
	Role     string  `json:"role" doc:"leader, voter, or none"`
	Leader   string  `json:"leader" doc:"whom it follows; empty for nobody"`
	Term     *uint64 `json:"term" doc:"its term; null if it does not answer"`
	Applied  *uint64 `json:"applied_index" doc:"the last log entry that changed the topology by which it routes; likewise"`
	Quorum   bool    `json:"quorum" doc:"whether it has heard from the leader lately"`
	Failed   int64   `json:"proposals_failed" doc:"changes that it proposed since its start and that were refused or never answered"`
	Waiting  string  `json:"waiting_for,omitempty" doc:"what it waits for before it serves"`
	Error    string  `json:"error,omitempty" doc:"why it does not answer"`
	Proposed int64   `json:"proposals" doc:"changes that it proposed since its start"`
	absent   string  // the state of one that does not answer
}

func (v *view) raftStatus(ctx context.Context) error {
	infos, failed := v.infos(ctx, "CLUSTER", "INFO")
	r := v.raft(infos, failed)
	if err := v.app.show(r, func() { v.app.writeRaft(r) }); err != nil {
		return err
	}
	if err := v.app.partial(failed); err != nil {
		return err
	}
	if !r.Quorum {
		return errSaid
	}
	return nil
}

func (v *view) raft(infos []info, failed []failure) raftReport {
	r := raftReport{Voters: v.namesOf(v.told.Voters), Majority: len(v.told.Voters)/2 + 1}
	slices.Sort(r.Voters)
	followed := map[string]int{}
	for i, m := range v.nodes {
		n := raftNodeReport{Name: m.label(), Role: "none"}
		if err := errorOf(failed, m); err != nil {
			n.Error, n.absent = words(err), absence(err)
		}
		votes := slices.Contains(v.told.Voters, m.ID)
		if votes {
			n.Role = "voter"
		}
		if at := infos[i]; at != nil {
			term := uint64(at.number("cluster_term"))
			n.Term, n.Applied, n.Quorum = pointer(term), pointer(uint64(at.number("cluster_applied_index"))), at["cluster_quorum"] == "1"
			n.Leader, n.Waiting = v.nameOf(at["cluster_leader"]), at["cluster_waiting_for"]
			n.Proposed, n.Failed = at.number("cluster_proposals"), at.number("cluster_proposals_failed")
			if at["cluster_leader"] == m.ID && n.Quorum {
				n.Role = "leader"
			}
			if votes {
				r.Up++
			}
			if n.Quorum {
				r.Quorum = true
				followed[n.Leader]++
			}
			r.Term = max(r.Term, term)
		}
		r.Nodes = append(r.Nodes, n)
	}
	for name, n := range followed {
		if n > followed[r.Leader] || r.Leader == "" || n == followed[r.Leader] && name < r.Leader {
			r.Leader = name
		}
	}
	return r
}

func (a *app) writeRaft(r raftReport) {
	leader, quorum := r.Leader, a.paint(green, "yes")
	if leader == "" {
		leader = a.paint(red, "none")
	}
	if !r.Quorum {
		quorum = a.paint(red, "no") + ": nothing can be decided; what was decided holds. If voters are gone for good: ndctl raft recover"
	}
	a.fact("leader", "%s, term %d", leader, r.Term)
	a.fact("voters", "%s; %d of %d up, %d decide", strings.Join(r.Voters, ", "), r.Up, len(r.Voters), r.Majority)
	a.fact("quorum", "%s", quorum)
	fmt.Fprintln(a.out)
	t := newTable("NODE", "ROLE", "TERM", "APPLIED", "FOLLOWS", "HEARS IT", "FAILED", "WAITS FOR")
	for _, n := range r.Nodes {
		role := strings.Replace(n.Role, "none", "-", 1)
		if n.Error != "" {
			t.add(text(n.Name), text(role), unknown, unknown, text("-"), tinted(red, n.absent), unknown, text(""))
			continue
		}
		follows, hears := n.Leader, tinted(green, "yes")
		if follows == "" {
			follows = "nobody"
		}
		if !n.Quorum {
			hears = tinted(red, "no")
		}
		t.add(text(n.Name), text(role), number(int64(*n.Term)), number(int64(*n.Applied)), text(follows), hears,
			rightly(fmt.Sprintf("%d of %d", n.Failed, n.Proposed)), text(n.Waiting))
	}
	a.writeTable(t)
}
