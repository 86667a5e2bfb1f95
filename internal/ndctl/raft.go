package ndctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

func raftCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "raft", Short: "Inspect consensus, and repair it",
		Long: "Shows the state of raft, with which the nodes agree on the topology, and repairs it when a majority of the voters or a node's log is lost for good.",
	}
	container(c)
	c.AddCommand(raftStatusCommand(a), raftRecoverCommand(a), raftRejoinCommand(a))
	return c
}

func raftStatusCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show the leader, the voters and the progress of each node", Args: cobra.NoArgs,
		Long: "Shows the leader, the voters and the progress of each node, as each node itself sees it. The exit code is 1 if there is no quorum or a node does not answer.",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withSession(c.Context(), func(s *session) error { return showRaft(c.Context(), s, a.out) })
		},
	}
	return document(c, raftReport{})
}

type raftReport struct {
	Leader   string           `json:"leader" doc:"name of the leader that most nodes follow; empty if there is none"`
	Term     uint64           `json:"term" doc:"highest term that a node knows"`
	Voters   []string         `json:"voters" doc:"names of the voters"`
	Majority int              `json:"majority" doc:"how many voters are a majority"`
	Up       int              `json:"voters_up" doc:"voters that answered"`
	Quorum   bool             `json:"quorum" doc:"true if a node has heard from the leader recently"`
	Nodes    []raftNodeReport `json:"nodes" doc:"each node as it sees itself"`
}

type raftNodeReport struct {
	Name     string  `json:"name" doc:"name of the node"`
	Role     string  `json:"role" doc:"leader, voter, or none for a non-voter"`
	Leader   string  `json:"leader" doc:"leader that it follows; empty if it follows none"`
	Term     *uint64 `json:"term" doc:"its term; null if it does not answer"`
	Applied  *uint64 `json:"applied_index" doc:"index of the last log entry in the topology by which it routes; null if it does not answer"`
	Quorum   bool    `json:"quorum" doc:"whether it has heard from the leader recently"`
	Failed   int64   `json:"proposals_failed" doc:"its proposals since its start that were refused or not answered"`
	Waiting  string  `json:"waiting_for,omitempty" doc:"what it waits for before it serves"`
	Error    string  `json:"error,omitempty" doc:"why it does not answer"`
	Proposed int64   `json:"proposals" doc:"its proposals since its start"`
	state    string  // of a node that does not answer
}

func showRaft(ctx context.Context, s *session, p *printer) error {
	infos, failed := s.infos(ctx, "CLUSTER", "INFO")
	r := newRaftReport(s, infos, failed)
	if err := p.show(r); err != nil {
		return err
	}
	if err := p.failures(failed); err != nil {
		return err
	}
	if !r.Quorum {
		return errPrinted
	}
	return nil
}

func newRaftReport(s *session, infos []info, failed nodeFailures) raftReport {
	r := raftReport{Voters: s.cluster.Labels(s.cluster.Voters), Majority: len(s.cluster.Voters)/2 + 1}
	slices.Sort(r.Voters)
	followers := map[string]int{} // by leader
	for i, m := range s.members {
		n := newRaftNodeReport(s.cluster, m, infos[i], failed.of(m))
		if infos[i] != nil {
			if slices.Contains(s.cluster.Voters, m.ID) {
				r.Up++
			}
			if n.Quorum {
				r.Quorum = true
				followers[n.Leader]++
			}
			r.Term = max(r.Term, *n.Term)
		}
		r.Nodes = append(r.Nodes, n)
	}
	for name, n := range followers {
		if n > followers[r.Leader] || r.Leader == "" || n == followers[r.Leader] && name < r.Leader {
			r.Leader = name
		}
	}
	return r
}

func newRaftNodeReport(c *view.Cluster, m *member, i info, failed error) raftNodeReport {
	n := raftNodeReport{Name: m.Label(), Role: "none"}
	if failed != nil {
		n.Error, n.state = explain(failed), stateOf(failed)
	}
	if slices.Contains(c.Voters, m.ID) {
		n.Role = "voter"
	}
	if i == nil {
		return n
	}
	leader := topology.NodeID(i["cluster_leader"])
	n.Term, n.Applied, n.Quorum = pointer(uint64(i.number("cluster_term"))), pointer(uint64(i.number("cluster_applied_index"))), i["cluster_quorum"] == "1"
	n.Leader, n.Waiting = c.Label(leader), i["cluster_waiting_for"]
	n.Proposed, n.Failed = i.number("cluster_proposals"), i.number("cluster_proposals_failed")
	if leader == m.ID && n.Quorum {
		n.Role = "leader"
	}
	return n
}

func (r raftReport) print(p *printer) {
	leader, quorum := r.Leader, p.paint(green, "yes")
	if leader == "" {
		leader = p.paint(red, "none")
	}
	if !r.Quorum {
		quorum = p.paint(red, "no") + ": the topology cannot change, and stays in effect. If voters are lost for good: ndctl raft recover"
	}
	p.fact("leader", "%s, term %d", leader, r.Term)
	p.fact("voters", "%s; %d of %d up, majority %d", strings.Join(r.Voters, ", "), r.Up, len(r.Voters), r.Majority)
	p.fact("quorum", "%s", quorum)
	p.printf("\n")
	t := newTable("NODE", "ROLE", "TERM", "APPLIED", "FOLLOWS", "HEARS IT", "FAILED", "WAITS FOR")
	for _, n := range r.Nodes {
		role := strings.Replace(n.Role, "none", "-", 1)
		if n.Error != "" {
			t.add(text(n.Name), text(role), unknown, unknown, text("-"), tinted(red, n.state), unknown, text(""))
			continue
		}
		follows, hears := n.Leader, tinted(green, "yes")
		if follows == "" {
			follows = "none"
		}
		if !n.Quorum {
			hears = tinted(red, "no")
		}
		t.add(text(n.Name), text(role), number(int64(*n.Term)), number(int64(*n.Applied)), text(follows), hears,
			rightAligned(fmt.Sprintf("%d of %d", n.Failed, n.Proposed)), text(n.Waiting))
	}
	t.print(p)
}
