package ndctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/view"
)

// connect asks the addresses one after the other and returns a session through the first node that
// is part of a cluster.
func connect(ctx context.Context, o *options) (*session, error) {
	password, err := o.password()
	if err != nil {
		return nil, err
	}
	if err := o.tlsOptions.load(o.env); err != nil {
		return nil, err
	}
	var failed []string
	code := exitUnreachable
	for _, addr := range o.addrs {
		c := o.client(addr, password)
		cluster, err := fetchCluster(ctx, c)
		if err == nil {
			return newSession(o, password, addr, c, cluster), nil
		}
		c.Close()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case rightsHint(err) != "":
			code = exitRights
		case !isConnectionError(err) && code != exitRights:
			code = exitFailure
		}
		failed = append(failed, fmt.Sprintf("%s: %s", addr, explain(err)))
	}
	switch {
	case len(failed) == 1 && code != exitUnreachable:
		return nil, &exitError{code, errors.New(failed[0])}
	case len(failed) == 1:
		return nil, &exitError{code, fmt.Errorf("no node answers at %s\nGive the address of a node with --addr HOST:PORT or NDRING_ADDR", failed[0])}
	}
	return nil, &exitError{code, fmt.Errorf("no node of a cluster answers:\n  %s", strings.Join(failed, "\n  "))}
}

// fetchCluster returns the cluster as a node sees it. A node that is not a member is an error.
func fetchCluster(ctx context.Context, c *redis.Client) (*view.Cluster, error) {
	text, err := c.Do(ctx, "CLUSTER", "TOPOLOGY").Text()
	switch {
	case err == nil:
	case !isConnectionError(err) && rightsHint(err) == "":
		if info, infoErr := c.Do(ctx, "INFO", "server").Text(); infoErr == nil && !strings.Contains(info, "ndring_version:") {
			return nil, errors.New("this is not an ndring node")
		}
		return nil, err
	default:
		return nil, err
	}
	cluster, err := view.Decode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("cannot read its answer to CLUSTER TOPOLOGY: %w", err)
	}
	if cluster.ID == "" {
		reason := "the node is not part of a cluster yet"
		if cluster.Waiting != "" {
			reason += ": it waits for " + cluster.Waiting
		}
		return nil, errors.New(reason)
	}
	if cluster.Node(cluster.Self) == nil { // its topology dates from when it left
		return nil, fmt.Errorf("the node has left the cluster: it waits for %s", cmp.Or(cluster.Waiting, "a member to admit it"))
	}
	slices.SortFunc(cluster.Nodes, func(a, b view.Node) int { return cmp.Or(cmp.Compare(a.Label(), b.Label()), cmp.Compare(a.ID, b.ID)) })
	return cluster, nil
}
