package clusters

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Measure runs a part of a benchmark on a cluster of its own, once all copies are in sync. An error has the ends of the nodes' logs.
func Measure(ctx context.Context, o NdringOptions, limit time.Duration, part func(*Cluster) error) error {
	c, err := Ndring(o)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, c.Close)() // an interrupt ends the requests under way
	if err = c.WaitHealthy(o.Replicas, limit); err == nil {
		err = part(c)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.Logs())
	}
	return nil
}

// Version returns what an ndring program says of itself.
func Version(binary string) (string, error) {
	text, err := exec.Command(binary, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", binary, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Sleep waits for a time, or until ctx is done.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Until waits until check returns nil, which it calls once in each time.
func Until(ctx context.Context, limit, each time.Duration, check func() error) error {
	for end := time.Now().Add(limit); ; {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
		if err := Sleep(ctx, each); err != nil {
			return err
		}
	}
}
