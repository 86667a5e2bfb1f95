package ndctl

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

const checkMoves = "check ndctl moves"

// change is a command to the cluster that moves copies.
type change struct {
	request  []any           // PLAN or AT with the base of the plan follows it
	question string          // what the user confirms
	done     string          // what is true afterwards
	plan     string          // the command line that shows the plan again
	optional bool            // there is nothing to do if the plan changes nothing
	empties  topology.NodeID // the node that has no copies afterwards; "" for none
}

// changeFlags are the flags of all commands that move copies.
type changeFlags struct {
	*waitFlags
	plan bool
	yes  *bool
}

func addChangeFlags(c *cobra.Command, until string) *changeFlags {
	f := &changeFlags{}
	planFlag(c, &f.plan)
	f.yes = yesFlag(c)
	f.waitFlags = addWaitFlags(c, until)
	document(c, &planReport{})
	return f
}

// planFlag adds --plan to a command that shows what it would do.
func planFlag(c *cobra.Command, into *bool) {
	c.Flags().BoolVar(into, "plan", false, "only show what would happen")
}

// runChange checks the flags, connects, and carries a change out.
func (a *app) runChange(c *cobra.Command, f *changeFlags, choose func(*session) (change, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	return a.withSession(c.Context(), func(s *session) error {
		ch, err := choose(s)
		if err != nil {
			return err
		}
		return a.carryOut(c.Context(), s, ch, f)
	})
}

// carryOut shows the plan of a change, asks for confirmation, starts it, and waits if the user watches.
func (a *app) carryOut(ctx context.Context, s *session, ch change, f *changeFlags) error {
	plan, err := s.fetchPlan(ctx, ch.request)
	if err != nil {
		return a.out.failures(nodeFailures{{s.self(), err}})
	}
	r := newPlanReport(s.cluster, plan)
	switch {
	case len(r.Problems) > 0:
		if err := a.out.show(r); err != nil {
			return err
		}
		return errPrinted
	case ch.optional && r.idle():
		r.Done = true
		return a.out.show(r)
	case f.plan:
		return a.out.show(r)
	}
	if err := a.confirmPlan(r, *f.yes, ch.question); err != nil {
		return err
	}
	if err := a.start(ctx, s, ch, plan); err != nil {
		return err
	}
	r.Started = true
	if a.out.watches(f.waitFlags) {
		w := newMoveWait(s, a.out, plan, f.waitFlags)
		w.empties = ch.empties
		err = w.run(ctx)
		r.Done = err == nil
	}
	return a.tell(r, err, ch.done, "started; ndctl moves shows how far it is")
}

// tell says how far a change is that has been started, whose wait may have failed, and returns that error.
func (a *app) tell(r *planReport, waited error, done, started string) error {
	switch {
	case a.out.json:
		if err := a.out.show(r); err != nil {
			return err
		}
	case r.Done:
		a.out.printf("%s\n", done)
	case waited == nil:
		a.out.printf("%s\n", started)
	}
	return waited
}

// confirmPlan shows a plan and asks whether to go on. With --json the plan is shown when it has been carried out.
func (a *app) confirmPlan(r *planReport, yes bool, question string) error {
	if a.out.json {
		question = r.summary() + "\n" + question
	} else {
		r.print(a.out)
	}
	return a.prompt.confirm(yes, question)
}

// start lets the cluster carry a plan out, as it was shown or not at all.
func (a *app) start(ctx context.Context, s *session, ch change, plan *view.Plan) error {
	request := append(append([]any{}, ch.request...), "AT", plan.Base)
	err := s.propose(ctx, s.self(), checkMoves, request...)
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && s.hasChanged(ctx, ch.request, plan.Base, err):
		return failure("the placement has changed since the plan was made, so nothing was changed. Look again: %s %s", a.out.program, ch.plan)
	}
	return a.out.failures(nodeFailures{{s.self(), err}})
}

// order asks the node that was asked first for a change, and says what went wrong with it.
func (a *app) order(ctx context.Context, s *session, check string, request ...any) error {
	err := s.propose(ctx, s.self(), check, request...)
	switch {
	case err == nil:
		return nil
	case isEarlierVersion(err):
		err = errEarlierVersion
	}
	return a.out.failures(nodeFailures{{s.self(), err}})
}
