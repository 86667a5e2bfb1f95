package ndctl

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/internal/datafolder"
)

func (a *app) raftRejoinCommand() *cobra.Command {
	var dir string
	var alone, member bool
	c := &cobra.Command{
		Use: "rejoin --dir FOLDER", Short: "Have a node come back that has lost raft's files", Args: cobra.NoArgs,
		Long: `Has the node of a data folder come back as another server, without a vote, when raft's files in it are missing, damaged or older than they
were: its start says so and ends. The node must not run. Its arrays stay, and so does its id; the cluster, which needs a majority of its voters without
this node, lets it in when it is started, and gives it a vote if there are too few. What is left of raft's files is kept aside.

A node that is its whole cluster makes that again around its arrays: settings that were made with config set --cluster are lost. If the folder does
not tell whether the node was alone, say so with --alone or --member.

If you have raft's files as they were when the node last ran, put them back instead: that loses nothing. An older copy does not help.`,
		Example: "  ndctl raft rejoin --dir /data",
	}
	c.Flags().StringVar(&dir, "dir", "", "data `FOLDER` of a node that does not run (default NDRING_DIR)")
	c.Flags().BoolVar(&alone, "alone", false, "the node was its whole cluster, if the folder does not tell")
	c.Flags().BoolVar(&member, "member", false, "the cluster has other nodes, if the folder does not tell")
	yes := yesFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		if dir == "" {
			dir = a.setting("NDRING_DIR")
		}
		if dir == "" || alone && member {
			return usageError("raft rejoin needs --dir FOLDER, and at most one of --alone and --member")
		}
		r, err := datafolder.OpenRejoin(dir)
		if err != nil {
			return &exitError{exitFailure, err}
		}
		return errors.Join(a.rejoin(r, *yes, alone, member), r.Close())
	}
	return document(c, rejoinReport{})
}

type rejoinReport struct {
	Cluster string `json:"cluster_id" doc:"id of the cluster, which stays"`
	Node    string `json:"node" doc:"id of the node, which stays"`
	Why     string `json:"lost" doc:"what is missing, damaged or too old"`
	Alone   bool   `json:"alone" doc:"whether the node makes the cluster again, of which it was the only one"`
	Kept    string `json:"kept,omitempty" doc:"folder with what was left of raft's files"`
	Done    bool   `json:"done" doc:"whether it was done"`
}

// rejoin shows what there is, asks, and does it.
func (a *app) rejoin(r *datafolder.Rejoin, yes, alone, member bool) error {
	report := rejoinReport{Cluster: r.Cluster, Node: string(r.Self), Why: r.Why.Error(), Alone: r.Alone}
	if r.Unknown {
		report.Alone = alone
	}
	if !a.json {
		a.fact("cluster", "%s", report.Cluster)
		a.fact("node", "%s", report.Node)
		a.fact("lost", "%s", report.Why)
	} else if !yes {
		a.show(report, nil) // a look
	}
	switch {
	case r.Unknown && !alone && !member:
		return usageError("the folder does not tell whether the node was alone in its cluster: give --alone if it was, --member if there are other nodes")
	case !r.Unknown && alone && !r.Alone:
		return errors.New("the folder knows of other nodes of its cluster: with --alone there would be two clusters of one id")
	}
	if member {
		report.Alone = false
	}
	question := "Have it come back to its cluster as another server, with its arrays?"
	if report.Alone {
		question = "Have it make its cluster again, with its arrays and without the settings of the cluster?"
	}
	if err := a.confirm(yes, question); err != nil {
		return err
	}
	kept, err := r.Apply(report.Alone)
	if err != nil {
		return fmt.Errorf("it was not done, or not wholly, so that the node does not start: try again: %w", err)
	}
	report.Kept, report.Done = kept, true
	return a.show(report, func() {
		if kept != "" {
			fmt.Fprintf(a.out, "\nWhat was left of raft's files: %s\n", kept)
		}
		fmt.Fprintln(a.out, "Start the node: with --join of other nodes, if it has any.")
	})
}
