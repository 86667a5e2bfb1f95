package main

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/bench/clusters"
	"github.com/ndring/ndring/bench/npy"
)

// caught is one catch-up.
type caught struct {
	healthy float64       // writes a second with all copies
	lone    float64       // the same while the node is down: the shards have one copy
	during  float64       // the same while the node catches up
	starts  time.Duration // from the start of the process until it serves
	took    time.Duration // from then until all its copies are in sync
	log     int64         // bytes that came through the log; the rest came as whole copies
	failed  int           // writes that failed while the node caught up
}

const (
	catchUpWriters = 8
	fillers        = 4
	lookEvery      = 200 * time.Millisecond // each look costs the nodes a topology
)

// catchUps measures writes beside a node that catches up: first from the log, then with an empty folder.
func (b *bench) catchUps() error {
	v, err := b.cluster.View()
	if err != nil {
		return err
	}
	// Raft's leader stays, so an election does not disturb the writes.
	i := slices.IndexFunc(b.cluster.Nodes, func(n *clusters.Node) bool { return n.Name != v.Leader })
	node := b.cluster.Nodes[i]
	behind := func(primary string, replicas []string) bool { return slices.Contains(replicas, node.Name) }
	t, err := b.small(smallKeys, 0, behind)
	if err != nil {
		return err
	}
	backlog, err := v.Keys(b.backlog<<10/b.piece, "backlog", behind)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		wiped bool
		to    *[]caught
	}{{false, &b.report.fromLog}, {true, &b.report.whole}} {
		for range b.rounds {
			one, err := b.catchUp(t, node, backlog, c.wiped)
			if err != nil {
				return err
			}
			*c.to = append(*c.to, *one)
		}
	}
	return nil
}

// catchUp stops a node, makes it lack the backlog, and measures writes to its primaries until it has caught up.
func (b *bench) catchUp(keys *traffic, node *clusters.Node, backlog []string, wipe bool) (*caught, error) {
	r := &caught{}
	var err error
	if r.healthy, err = b.rate(keys); err != nil {
		return nil, err
	}
	node.Kill()
	if wipe { // it lacks the backlog of the last round
		err = b.cluster.Wipe(node)
	} else {
		err = b.write(backlog)
		say("catch-up: the backlog is written")
	}
	if err != nil {
		return nil, err
	}
	if r.lone, err = b.rate(keys); err != nil {
		return nil, err
	}
	t := &traffic{cluster: keys.cluster, keys: keys.keys, value: keys.value}
	t.start(0, catchUpWriters)
	defer t.stop()
	began := time.Now()
	if err := node.Restart(); err != nil {
		return nil, err
	}
	if err := b.until(func() error { _, err := b.serves(node); return err }); err != nil {
		return nil, err
	}
	serves := time.Now()
	r.starts = serves.Sub(began)
	if err := b.until(func() error { return b.cluster.WaitHealthy(2, 0) }); err != nil {
		return nil, err
	}
	r.took = time.Since(serves)
	s := t.since(serves)
	r.during, r.failed = s.rate(), s.failures()
	values, err := node.Counters("replication", "repl_bytes_in")
	if err != nil {
		return nil, err
	}
	r.log = values[0]
	say("catch-up, wiped %v: %.0f writes/s with all copies, %.0f with the node down, %.0f beside the catch-up; it started in %v and caught up in %v; %d failed (%s)",
		wipe, r.healthy, r.lone, r.during, r.starts.Round(time.Millisecond), r.took.Round(time.Millisecond), r.failed, s.reasons())
	return r, nil
}

// serves returns how a node sees its cluster, once it serves.
func (b *bench) serves(node *clusters.Node) (*clusters.View, error) {
	v, err := b.cluster.ViewOf(node)
	if err != nil {
		return nil, err
	}
	return v, v.Issue()
}

// rate measures the writes a second with all nodes as they are.
func (b *bench) rate(keys *traffic) (float64, error) {
	t := &traffic{cluster: keys.cluster, keys: keys.keys, value: keys.value}
	t.start(0, catchUpWriters)
	defer t.stop()
	if err := b.sleep(b.window / 5); err != nil { // the clients connect
		return 0, err
	}
	began := time.Now()
	err := b.sleep(b.window)
	return t.since(began).rate(), err
}

// until waits for a condition.
func (b *bench) until(check func() error) error {
	return clusters.Until(b.context, b.limit, lookEvery, check)
}

// write writes the backlog. It retries what fails while the topology still names the stopped node.
func (b *bench) write(keys []string) error {
	value := npy.Float32(b.piece << 10)
	failures := make([]error, fillers)
	var all sync.WaitGroup
	for i := range fillers {
		all.Go(func() {
			c := newClient(b.cluster, b.limit)
			defer c.close()
			for at := i; at < len(keys) && failures[i] == nil; at += fillers {
				failures[i] = b.until(func() error { return c.set(keys[at], value) })
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}
