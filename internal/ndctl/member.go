package ndctl

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/view"
)

// member is a node of the cluster, with the connection to it.
type member struct {
	*view.Node
	address string        // empty if clients of the listener that was asked cannot reach the node
	client  *redis.Client // nil without an address
	self    bool          // the node that was asked first
}

// deadTimeout is how long ndctl tries a node that the cluster considers dead: the cluster may be
// wrong.
const deadTimeout = time.Second

var errNoAddress = errors.New("it has no address for clients of the listener that was asked")

// do executes a command on the node.
func (m *member) do(ctx context.Context, args ...any) *redis.Cmd {
	if m.client == nil {
		return failedCmd(ctx, errNoAddress, args)
	}
	if !m.Up {
		short, cancel := context.WithTimeout(ctx, deadTimeout)
		defer cancel()
		ctx = short
	}
	return m.client.Do(ctx, args...)
}

// failedCmd returns a command that has failed.
func failedCmd(ctx context.Context, err error, args []any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, args...)
	cmd.SetErr(err)
	return cmd
}

// info executes INFO or CLUSTER INFO on the node.
func (m *member) info(ctx context.Context, command ...any) (info, error) {
	text, err := m.do(ctx, command...).Text()
	return parseInfo(text), err
}

// nodeFailure says what went wrong with one node.
type nodeFailure struct {
	node *member
	err  error
}

type nodeFailures []nodeFailure

// of returns what went wrong with a node, or nil.
func (all nodeFailures) of(m *member) error {
	for _, f := range all {
		if f.node == m {
			return f.err
		}
	}
	return nil
}

// each calls do for all nodes concurrently and returns those for which it failed.
func each(ctx context.Context, nodes []*member, do func(context.Context, int, *member) error) (failed nodeFailures) {
	errs := make([]error, len(nodes))
	var wait sync.WaitGroup
	for i, m := range nodes {
		wait.Go(func() { errs[i] = do(ctx, i, m) })
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			failed = append(failed, nodeFailure{nodes[i], err})
		}
	}
	return failed
}

// stateOf returns the state to show for a node that failed to answer.
func stateOf(err error) string {
	if rightsHint(err) != "" {
		return "denied"
	}
	return "down"
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
