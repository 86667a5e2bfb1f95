package ndctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

const (
	checkNodes        = "check ndctl nodes and ndctl raft status"
	leavePollInterval = 100 * time.Millisecond
)

func leaveCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "leave [NODE]", Short: "Let a node leave the cluster in an orderly way", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Makes a node hand over its shards and leave the cluster (CLUSTER LEAVE): the named node, or else the node at --addr. First it shows the plan: what
each node gets. The node stays a member until other nodes have copies of all of its shards. Stop the node only when ` + "`nodes`" + ` at another node no longer lists it and ` + "`status`" + ` there is
healthy: its vote must first move to another node. --wait waits for that, and shows how far the copies are. Until then ` + "`undrain`" + ` cancels it; started again afterwards, the node joins again.
The exit code is 1 if the plan has problems, if the node refuses, or if --wait ends before the node has left; it then continues to leave.`,
		Example: "  ndctl leave node3 --wait\n  ndctl leave node3 --yes --wait --wait-timeout 5m && docker stop node3",
	}
	f := addChangeFlags(c, "the node has left the cluster")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		return a.withSession(c.Context(), func(s *session) error {
			m, err := s.targetNode(strings.Join(args, ""), "NODE")
			if err != nil {
				return err
			}
			return a.leave(c.Context(), s, m, f)
		})
	}
	return c
}

// leave shows what moves when a node leaves, asks for confirmation, and lets it leave.
func (a *app) leave(ctx context.Context, s *session, m *member, f *changeFlags) error {
	plan, err := s.fetchPlanFrom(ctx, m, []any{"CLUSTER", "LEAVE"})
	if err != nil && (!errors.Is(err, errEarlierVersion) || f.plan) { // a node of an earlier version leaves without a plan
		return a.out.failures(nodeFailures{{m, err}})
	}
	r := newPlanReport(s.cluster, cmp.Or(plan, &view.Plan{}))
	if len(r.Problems) > 0 || f.plan {
		if err := a.out.show(r); err != nil || len(r.Problems) == 0 {
			return err
		}
		return errPrinted
	}
	question := fmt.Sprintf("Let %s leave the cluster?", m.Label())
	if plan == nil {
		err = a.prompt.confirm(*f.yes, question)
	} else {
		err = a.confirmPlan(r, *f.yes, question)
	}
	if err != nil {
		return err
	}
	if err := s.propose(ctx, m, checkNodes, "CLUSTER", "LEAVE"); err != nil {
		return a.out.failures(nodeFailures{{m, err}})
	}
	r.Started = true
	if f.wait {
		err = awaitGone(ctx, m, newMoveWait(s, a.out, plan, f.waitFlags))
		r.Done = err == nil
	}
	return a.tell(r, err, m.Label()+" has left the cluster: stop it",
		m.Label()+" is leaving: it hands over its shards. Stop it when ndctl nodes at another node no longer lists it and ndctl status is healthy")
}

// awaitGone waits until another node sees a topology without the node and a quorum that does not
// need it: a leader or voter must not be stopped before its vote has moved.
func awaitGone(ctx context.Context, gone *member, w *moveWait) error {
	defer w.display.clear()
	within, cancel := ctx, context.CancelFunc(func() {})
	if w.flags.limit > 0 {
		within, cancel = context.WithTimeout(ctx, w.flags.limit)
	}
	defer cancel()
	shards := -1 // that it serves; negative until another node has answered
	started := time.Now()
	looked, changed := started, started
	for {
		c := fetchFromOthers(within, w.session, gone)
		now := time.Now()
		if c != nil {
			if left, err := hasLeft(c, gone); left || err != nil {
				return err
			}
			if n := served(c, gone.ID); n != shards {
				shards, changed = n, now
			}
		}
		if now.Sub(looked) >= movesPollInterval {
			looked = now
			w.look(within, gone)
			w.display.show(now, w.progress)
		}
		if changed.Before(w.progress.changed) {
			changed = w.progress.changed
		}
		if w.flags.expired(started, changed, now) != nil || !sleep(within, leavePollInterval) {
			break
		}
	}
	if ctx.Err() != nil {
		return &detachedError{gone.Label() + " continues to leave; ndctl moves shows how far it is"}
	}
	why := whyNotGone(ctx, gone, shards)
	if blocked := w.progress.blocked(); blocked != "" {
		why += "; " + blocked
	}
	if w.flags.limit == 0 {
		return fmt.Errorf("%s has not left, and nothing has moved for %s: %s", gone.Label(), view.Duration(stallTimeout), why)
	}
	return fmt.Errorf("%s has not left within %s: %s", gone.Label(), w.flags.limit, why)
}

// hasLeft reports whether a node has left, as another one sees it.
func hasLeft(c *view.Cluster, gone *member) (bool, error) {
	n := c.Node(gone.ID)
	switch {
	case n == nil:
		return c.Quorum && c.Leader != "" && c.Leader != gone.ID && !slices.Contains(c.Voters, gone.ID), nil
	case !n.Leaving && n.Incarnation != gone.Incarnation:
		return false, fmt.Errorf("%s has left the cluster and joined it again: it was restarted", gone.Label())
	}
	return false, nil
}

// served returns how many shards a node serves.
func served(c *view.Cluster, id topology.NodeID) (shards int) {
	for _, row := range c.Shards {
		if row.Primary == id {
			shards++
		}
	}
	return shards
}

// fetchFromOthers returns the cluster as a node other than one sees it, or nil if none answers.
func fetchFromOthers(ctx context.Context, s *session, except *member) *view.Cluster {
	for _, m := range s.members {
		if m == except || m.client == nil || !m.Up {
			continue
		}
		if c, err := fetchCluster(ctx, m.client); err == nil {
			return c
		}
	}
	return nil
}

// whyNotGone says what keeps a node from leaving.
func whyNotGone(ctx context.Context, m *member, shards int) string {
	i, err := m.info(ctx, "INFO", "keyspace")
	switch {
	case shards < 0:
		return "no other node answers, so its progress is unknown"
	case shards == 0:
		return "it no longer serves any shard, but the others cannot decide without it yet; " + checkNodes
	case err == nil && i.keys() > 0:
		return fmt.Sprintf("it still serves %s with %s and continues to copy them to other nodes (ndctl shards --node shows how far it is)",
			plural(shards, "shard"), plural(int(i.keys()), "key"))
	}
	return fmt.Sprintf("it still serves %s and continues to hand them over; %s", plural(shards, "shard"), checkNodes)
}
