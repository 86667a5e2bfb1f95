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

func raftRecoverCommand(a *app) *cobra.Command {
	var dir string
	var force bool
	c := &cobra.Command{
		Use: "recover --dir FOLDER", Short: "Make one node the only voter after a majority of the voters is lost", Args: cobra.NoArgs,
		Long: `Makes the node of a data folder the only voter of its cluster, when a majority of the voters is lost FOR GOOD. The node must not run.
The topology that it knows becomes the topology of the cluster. Raft's files are backed up first.

Afterwards start the node: it leads the same cluster. Nodes that are still running follow it by themselves, and new ones can join. Remove the
lost ones with forget. Choose, among the remaining nodes, the one with the highest last entry: run this on each and answer no.

DANGER: recover ONE node only. If you recover a second one, or the majority comes back with its folders, there are two clusters with the same id until
they see each other, and each assigns the shards to its own nodes. Then one of them wins, and whatever was stored under the other's topology is lost.
Lost nodes may come back only with empty folders.`,
		Example: "  ndctl raft recover --dir /data",
	}
	c.Flags().StringVar(&dir, "dir", "", "data `FOLDER` of a node that does not run (default NDRING_DIR)")
	c.Flags().BoolVar(&force, "force", false, "continue although a majority of the voters seems to answer")
	yes := yesFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		if dir == "" {
			dir = a.options.env.get("NDRING_DIR")
		}
		if dir == "" {
			return usageError("raft recover needs --dir FOLDER")
		}
		r, err := datafolder.OpenRecovery(dir)
		if err != nil {
			return &exitError{exitFailure, err}
		}
		return errors.Join(recoverNode(a, r, *yes, force), r.Close())
	}
	return document(c, recoverReport{})
}

type recoverReport struct {
	Cluster string   `json:"cluster_id" doc:"cluster id, which stays the same"`
	Node    string   `json:"node" doc:"name of the node that becomes the only voter"`
	Index   uint64   `json:"last_index" doc:"index of its last log entry"`
	Term    uint64   `json:"last_term" doc:"term of its last log entry"`
	Voters  []string `json:"voters" doc:"voters that it knows"`
	Answer  []string `json:"voters_that_answer" doc:"voters whose bus can be reached from here"`
	Shards  int      `json:"shards" doc:"shards of the cluster"`
	Here    int      `json:"shards_here" doc:"shards with a copy on this node"`
	Only    int      `json:"shards_elsewhere" doc:"shards with copies on other nodes only: lost when these nodes are forgotten"`
	Backup  string   `json:"backup,omitempty" doc:"folder with the backup of raft's files"`
	Done    bool     `json:"done" doc:"whether the node was recovered"`
}

// recoverNode shows what will happen, asks for confirmation, and recovers the node.
func recoverNode(a *app, r *datafolder.Recovery, yes, force bool) error {
	report := newRecoverReport(r)
	if !a.out.json || !yes { // with --json and --yes, only the final report is shown
		if err := a.out.show(report); err != nil {
			return err
		}
	}
	if up := len(report.Answer) + 1; len(report.Voters) > 1 && up > len(report.Voters)/2 && !force {
		return fmt.Errorf("%s can be reached: with this node that is a majority of the %d voters, and the cluster has a quorum as soon as this node is started again. "+
			"If something else answers there, use --force", strings.Join(report.Answer, ", "), len(report.Voters))
	}
	if err := a.prompt.confirm(yes, fmt.Sprintf("Make %s the only voter of cluster %s?", report.Node, report.Cluster)); err != nil {
		return err
	}
	backup, err := r.Backup()
	if err != nil {
		return fmt.Errorf("nothing was changed, because raft's files could not be backed up: %w", err)
	}
	if err := r.Recover(); err != nil {
		return fmt.Errorf("the recovery failed: replace raft's folder by %s before you try again: %w", backup, err)
	}
	report.Backup, report.Done = backup, true
	return a.out.show(report)
}

func newRecoverReport(r *datafolder.Recovery) recoverReport {
	report := recoverReport{Cluster: r.Cluster, Index: r.Index, Term: r.Term, Shards: len(r.Topology.Shards), Voters: []string{}, Answer: []string{}, Node: string(r.Self)}
	if row, ok := r.Topology.Node(r.Self); ok && row.Name != "" {
		report.Node = row.Name
	}
	for _, v := range r.Voters {
		report.Voters = append(report.Voters, v.Name)
		if v.Node != r.Self && isReachable(v.Bus) {
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

// isReachable reports whether something accepts connections at the last known address of a node's bus.
func isReachable(bus string) bool {
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

// print writes what will happen or, once it is done, what to do next.
func (r recoverReport) print(p *printer) {
	if r.Done {
		p.printf("\n%s is the only voter now. Backup of raft's files: %s\nStart it; nodes that are still running follow it. Then remove the lost ones: ndctl forget NODE\n", r.Node, r.Backup)
		return
	}
	others := "none"
	if len(r.Answer) > 0 {
		others = strings.Join(r.Answer, ", ")
	}
	p.fact("cluster", "%s, as this folder knows it", r.Cluster)
	p.fact("node", "%s", r.Node)
	p.fact("last entry", "%d, of term %d", r.Index, r.Term)
	p.fact("voters", "%s; others that answer: %s", strings.Join(r.Voters, ", "), others)
	p.fact("kept", "nodes, settings and shards as of that entry; the arrays of %d of %s, which have a copy here", r.Here, plural(r.Shards, "shard"))
	p.fact("elsewhere", "%s with copies on other nodes only: available again when these nodes come back, lost when they are forgotten", plural(r.Only, "shard"))
	p.fact("lost", "every decision after that entry that did not reach this node")
}
