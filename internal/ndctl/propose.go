package ndctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// decisionTimeout bounds how long a node takes to answer whether the cluster has decided on a
	// change.
	decisionTimeout = 10 * time.Second
	// retryInterval is the pause before a command is repeated: TRYAGAIN, LOADING, or no leader.
	retryInterval = 100 * time.Millisecond
)

// propose asks a node to propose a change of the cluster and waits for the decision. Without a
// leader it retries within --timeout, as long as a majority of the voters is up. Check tells the
// user how to find out what became of a change whose outcome is unknown.
func (s *session) propose(ctx context.Context, m *member, check string, args ...any) error {
	return s.proposal(ctx, m, check, args...).Err()
}

// proposal does what propose does, and returns the answer.
func (s *session) proposal(ctx context.Context, m *member, check string, args ...any) *redis.Cmd {
	if m.client == nil {
		return failedCmd(ctx, errNoAddress, args)
	}
	client := m.client.WithTimeout(s.options.timeout + decisionTimeout)
	for deadline := time.Now().Add(s.options.timeout); ; {
		cmd := client.Do(ctx, args...)
		err := cmd.Err()
		switch {
		case err == nil || ctx.Err() != nil:
			return cmd
		case isLeaderless(err) && s.cluster.Quorum && time.Now().Before(deadline) && sleep(ctx, retryInterval):
			continue
		case strings.HasPrefix(err.Error(), "UNCERTAIN "):
			return failedCmd(ctx, &uncertainError{"UNCERTAIN, the cluster has not decided in time", check}, args)
		case isConnectionError(err) && !isDialError(err):
			reason := "the node closed the connection"
			if isTimeout(err) {
				reason = "the node does not answer in time"
			}
			return failedCmd(ctx, &uncertainError{reason, check}, args)
		}
		return cmd
	}
}

// isLeaderless reports whether a change was not proposed because the cluster has no leader at the
// moment. The second text with a comma is of earlier nodes, which an upgrade still meets.
func isLeaderless(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "ERR the cluster has no leader") ||
		strings.Contains(text, " leads the cluster but does not answer") || strings.Contains(text, " leads the cluster, and does not answer")
}

// uncertainError reports a change whose outcome is unknown.
type uncertainError struct{ reason, check string }

func (e *uncertainError) Error() string {
	return fmt.Sprintf("%s: the change may have been made, or may still be made; %s", e.reason, e.check)
}
