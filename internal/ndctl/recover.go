package ndctl

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/internal/datafolder"
)

func (a *app) raftRecoverCommand() *cobra.Command {
	var dir string
	var force bool
	c := &cobra.Command{
		Use: "recover --dir FOLDER", Short: "Make one node the only voter, when a majority of them is lost for good", Args: cobra.NoArgs,
		Long: `Makes the node of a data folder the only voter of its cluster: the way out when a majority of the voters is lost FOR GOOD. The node
must not run. What it knows of the topology becomes what the cluster knows; raft's files are copied aside first.

Afterwards start the node: it leads the same cluster. Nodes that still run follow it by themselves, and new ones can join. Give up the lost
ones with forget. Choose, of the nodes that are left, the one that shows the highest last entry: look at each with the answer no.

DANGER: do this on ONE node. Done on a second one, or with a majority that comes back as it was, there are two clusters of one id until they see
each other, and each gives the shards to its own nodes. Then one prevails, and what was stored by the other's decisions is lost. Lost nodes may
come back only with empty folders.`,
		Example: "  ndctl raft recover --dir /data",
	}
	c.Flags().StringVar(&dir, "dir", "", "data `FOLDER` of a node that does not run (default NDRING_DIR)")
	c.Flags().BoolVar(&force, "force", false, "go on even if a majority of the voters seems to answer")
	yes := yesFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		if dir == "" {
			dir = a.setting("NDRING_DIR")
		}
		if dir == "" {
			return usageError("raft recover needs --dir FOLDER")
		}
		r, err := datafolder.OpenRecovery(dir)
		if err != nil {
			return &exitError{exitFailure, err}
		}
		return errors.Join(a.recover(r, *yes, force), r.Close())
	}
	return document(c, recoverReport{})
}

type recoverReport struct {
	Cluster string   `json:"cluster_id" doc:"id of the cluster, which stays"`
	Node    string   `json:"node" doc:"name of the node that is to be the only voter"`
	Index   uint64   `json:"last_index" doc:"its last log entry"`
	Term    uint64   `json:"last_term" doc:"the term of that"`
	Voters  []string `json:"voters" doc:"voters as it knows them"`
	Answer  []string `json:"voters_that_answer" doc:"of them, those whose bus could be reached from here"`
	Shards  int      `json:"shards" doc:"shards of the cluster"`
	Here    int      `json:"shards_here" doc:"of them, those with a copy on this node"`
	Only    int      `json:"shards_elsewhere" doc:"those with copies only on other nodes: given up when these are forgotten"`
	Backup  string   `json:"backup,omitempty" doc:"folder with raft's files as they were"`
	Done    bool     `json:"done" doc:"whether the recovery was done"`
}

// recover shows what there is, asks, and does it.
func (a *app) recover(r *datafolder.Recovery, yes, force bool) error {
	report := recoverReportOf(r)
	if !a.json {
		a.writeRecovery(report)
	} else if !yes {
		a.show(report, nil) // a look
	}
	if up := len(report.Answer) + 1; len(report.Voters) > 1 && up > len(report.Voters)/2 && !force {
		return fmt.Errorf("of the voters, %s can be reached: with this node that is a majority of %d, and the cluster decides by itself once this node is started again. "+
			"If something else answers there, use --force", strings.Join(report.Answer, ", "), len(report.Voters))
	}
	if err := a.confirm(yes, fmt.Sprintf("Make %s the only voter of cluster %s?", report.Node, report.Cluster)); err != nil {
		return err
	}
	backup, err := r.Backup()
	if err != nil {
		return fmt.Errorf("nothing was changed, since raft's files cannot be copied aside: %w", err)
	}
	if err := r.Recover(); err != nil {
		return fmt.Errorf("the recovery failed: put %s in the place of raft's folder before you try again: %w", backup, err)
	}
	report.Backup, report.Done = backup, true
	return a.show(report, func() {
		fmt.Fprintf(a.out, "\n%s is the only voter now. Raft's files as they were: %s\nStart it; nodes that still run follow it. Then give up the lost ones: ndctl forget NODE\n", report.Node, backup)
	})
}

func recoverReportOf(r *datafolder.Recovery) recoverReport {
	report := recoverReport{Cluster: r.Cluster, Index: r.Index, Term: r.Term, Shards: len(r.Topology.Shards), Voters: []string{}, Answer: []string{}, Node: string(r.Self)}
	if row, ok := r.Topology.Node(r.Self); ok && row.Name != "" {
		report.Node = row.Name
	}
	for _, v := range r.Voters {
		report.Voters = append(report.Voters, v.Name)
		if v.Node != r.Self && reachable(v.Bus) {
			report.Answer = append(report.Answer, v.Name)
		}
	}
	slices.Sort(report.Voters)
	slices.Sort(report.Answer)
	for _, s := range r.Topology.Shards {
		switch {
		case slices.Contains(s.ISR, r.Self):
			report.Here++
		case len(s.ISR) > 0:
			report.Only++
		}
	}
	return report
}

// reachable reports whether something takes connections where a node's bus was last.
func reachable(bus string) bool {
	if bus == "" {
		return false
	}
	conn, err := net.DialTimeout("tcp", bus, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (a *app) writeRecovery(r recoverReport) {
	answer := "none"
	if len(r.Answer) > 0 {
		answer = strings.Join(r.Answer, ", ")
	}
	a.fact("cluster", "%s, as this folder knows it", r.Cluster)
	a.fact("node", "%s", r.Node)
	a.fact("last entry", "%d, of term %d", r.Index, r.Term)
	a.fact("voters", "%s; others that answer: %s", strings.Join(r.Voters, ", "), answer)
	a.fact("kept", "nodes, settings and shards as of that entry; the arrays of %d of %s, which have a copy here", r.Here, plural(r.Shards, "shard"))
	a.fact("elsewhere", "%s with copies only on other nodes: there again when those come, given up when they are forgotten", plural(r.Only, "shard"))
	a.fact("lost", "whatever was decided after that entry without this node")
}
