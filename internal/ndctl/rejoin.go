package ndctl

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/internal/datafolder"
)

func raftRejoinCommand(a *app) *cobra.Command {
	var dir string
	var alone, member bool
	c := &cobra.Command{
		Use: "rejoin --dir FOLDER", Short: "Let a node come back that has lost raft's files", Args: cobra.NoArgs,
		Long: `Lets the node of a data folder come back as a new server without a vote, when its raft files are missing, damaged or older than they
were: then the node refuses to start and says so. The node must not run. It keeps its arrays and its id. When it starts, the cluster, which needs a majority of
its voters without this node, admits it, and gives it a vote if there are too few. What is left of raft's files is kept aside.

A node that was its whole cluster recreates it around its arrays; settings made with config set --cluster are lost. If the folder does not
show whether the node was alone, say so with --alone or --member.

If you have raft's files as they were when the node last ran, put them back instead: that loses nothing. An older copy does not help.`,
		Example: "  ndctl raft rejoin --dir /data",
	}
	c.Flags().StringVar(&dir, "dir", "", "data `FOLDER` of a node that does not run (default NDRING_DIR)")
	c.Flags().BoolVar(&alone, "alone", false, "the node was its whole cluster, if the folder does not show it")
	c.Flags().BoolVar(&member, "member", false, "the cluster has other nodes, if the folder does not show it")
	yes := yesFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		if dir == "" {
			dir = a.options.env.get("NDRING_DIR")
		}
		if dir == "" || alone && member {
			return usageError("raft rejoin needs --dir FOLDER, and at most one of --alone and --member")
		}
		r, err := datafolder.OpenRejoin(dir)
		if err != nil {
			return &exitError{exitFailure, err}
		}
		return errors.Join(rejoinNode(a, r, *yes, alone, member), r.Close())
	}
	return document(c, rejoinReport{})
}

type rejoinReport struct {
	Cluster string `json:"cluster_id" doc:"cluster id, which stays the same"`
	Node    string `json:"node" doc:"node id, which stays the same"`
	Why     string `json:"lost" doc:"what is missing, damaged or too old"`
	Alone   bool   `json:"alone" doc:"whether the node was its whole cluster and recreates it"`
	Kept    string `json:"kept,omitempty" doc:"folder with what was left of raft's files"`
	Done    bool   `json:"done" doc:"whether the node can be started"`
}

// rejoinNode shows what is lost, asks for confirmation, and prepares the folder.
func rejoinNode(a *app, r *datafolder.Rejoin, yes, alone, member bool) error {
	report := rejoinReport{Cluster: r.Cluster, Node: string(r.Self), Why: r.Why.Error(), Alone: r.Alone}
	if r.Unknown {
		report.Alone = alone
	}
	if !a.out.json || !yes { // with --json and --yes, only the final report is shown
		if err := a.out.show(report); err != nil {
			return err
		}
	}
	switch {
	case r.Unknown && !alone && !member:
		return usageError("the folder does not show whether the node was alone in its cluster: give --alone if it was, or --member if there are other nodes")
	case !r.Unknown && alone && !r.Alone:
		return errors.New("the folder knows other nodes of its cluster: --alone would create a second cluster with the same id")
	}
	if member {
		report.Alone = false
	}
	question := "Let it come back to its cluster as a new server, with its arrays?"
	if report.Alone {
		question = "Let it recreate its cluster, with its arrays but without the settings of the cluster?"
	}
	if err := a.prompt.confirm(yes, question); err != nil {
		return err
	}
	kept, err := r.Apply(report.Alone)
	if err != nil {
		return fmt.Errorf("the repair is incomplete, so the node will not start: try again: %w", err)
	}
	report.Kept, report.Done = kept, true
	return a.out.show(report)
}

// print writes what is lost or, once it is repaired, what to do next.
func (r rejoinReport) print(p *printer) {
	if !r.Done {
		p.fact("cluster", "%s", r.Cluster)
		p.fact("node", "%s", r.Node)
		p.fact("lost", "%s", r.Why)
		return
	}
	if r.Kept != "" {
		p.printf("\nWhat was left of raft's files: %s\n", r.Kept)
	}
	p.printf("Start the node, with --join of other nodes if there are any.\n")
}
