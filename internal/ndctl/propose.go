package ndctl

import (
	"context"
	"fmt"
	"strings"
	"time"
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
	if m.client == nil {
		return errNoAddress
	}
	client := m.client.WithTimeout(s.options.timeout + decisionTimeout)
	for deadline := time.Now().Add(s.options.timeout); ; {
		err := client.Do(ctx, args...).Err()
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case isLeaderless(err) && s.cluster.Quorum && time.Now().Before(deadline) && sleep(ctx, retryInterval):
			continue
		case strings.HasPrefix(err.Error(), "UNCERTAIN "):
			return &uncertainError{"UNCERTAIN, the cluster has not decided in time", check}
		case isConnectionError(err) && !isDialError(err):
			reason := "the node closed the connection"
			if isTimeout(err) {
				reason = "the node does not answer in time"
			}
			return &uncertainError{reason, check}
		}
		return err
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
