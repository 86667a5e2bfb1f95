package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ndring/ndring/bench/clusters"
)

const (
	writerCount   = 16
	keysEach      = 16
	probeLimit    = 250 * time.Millisecond // for one attempt of the probing client
	loadTime      = 400 * time.Millisecond // of writes before a kill, at least
	copiesLimit   = 5 * time.Second        // for the second copies of a new cluster, while replication is not expected
	handoverLimit = 10 * time.Second
)

// bench measures one mode on a running cluster.
type bench struct {
	*options
	mode    *mode
	cluster *clusters.Cluster
	copies  int // usable copies of each shard while the cluster is healthy
	round   int // makes the keys of each round new
	result  *result
}

// prepare waits for the second copies of the shards.
func (b *bench) prepare() error {
	limit := b.mode.limit
	if b.mode.ndring && !clusters.NdringReplicates {
		limit = copiesLimit
	}
	err := b.cluster.WaitHealthy(b.copies, limit)
	if err == nil || !b.mode.ndring || clusters.NdringReplicates {
		return err
	}
	b.copies = 1
	b.note("each shard has one copy: %v", err)
	return b.cluster.WaitHealthy(b.copies, b.mode.limit)
}

func (b *bench) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	say("%s: %s", b.mode.name, text)
	b.result.notes = append(b.result.notes, text)
}

// keys returns new keys whose shards satisfy a condition.
func (b *bench) keys(v *clusters.View, n int, is func(primary string, replicas []string) bool) ([]string, error) {
	b.round++
	return v.Keys(n, fmt.Sprintf("f:%d", b.round), is)
}

// primaries kills primaries.
func (b *bench) primaries() error {
	for i := range b.mode.kills {
		k, err := b.killPrimary(i%4 == 3)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		b.result.kills = append(b.result.kills, *k)
		if !k.recovered {
			b.note("no failover within the limit of %v", b.mode.limit)
			if clusters.NdringReplicates || !b.mode.ndring {
				return errors.New("no failover within the limit")
			}
			return nil
		}
		say("%s: kill %d of %d: %v, lost %d of %d acknowledged writes", b.mode.name, i+1, b.mode.kills, k.took.Round(time.Millisecond), k.lost, k.acked)
	}
	return nil
}

// choose returns a primary to kill: ndring's leader, or another one.
func (b *bench) choose(v *clusters.View, leader bool) *clusters.Node {
	names := v.Primaries()
	if leader && slices.Contains(names, v.Leader) {
		return b.cluster.Node(v.Leader)
	}
	if len(names) > 1 {
		names = slices.DeleteFunc(names, func(name string) bool { return name == v.Leader })
	}
	return b.cluster.Node(names[rand.IntN(len(names))])
}

// killPrimary kills a primary under load, measures the time until a key of it can be written, restarts the
// process, waits until the cluster is healthy, and looks for the acknowledged writes.
func (b *bench) killPrimary(leader bool) (*kill, error) {
	v, err := b.cluster.View()
	if err != nil {
		return nil, err
	}
	victim := b.choose(v, leader)
	k := &kill{leader: victim.Name == v.Leader}
	own := func(primary string, _ []string) bool { return primary == victim.Name }
	keys, err := b.keys(v, writerCount*keysEach+writerCount+1, own)
	if err != nil {
		return nil, err
	}
	// The writers until the kill end at their first failure, and never hide a loss by a newer write.
	before := &writers{mode: b.mode, cluster: b.cluster}
	before.start(writerCount, keys[writerCount+1:])
	time.Sleep(loadTime + rand.N(loadTime/2))
	thaw, err := b.freezeReplica(v, keys[0])
	if err != nil {
		return nil, err
	}
	k.took, k.recovered = b.probe(victim, keys[0], thaw)
	before.stop()
	after := &writers{mode: b.mode, cluster: b.cluster, retry: true, pause: 5 * time.Millisecond}
	if k.recovered { // what is acknowledged until the killed process is back must not go either
		after.start(4, keys[1:writerCount+1])
		time.Sleep(100 * time.Millisecond)
	}
	began := time.Now()
	if err := victim.Restart(); err != nil {
		return nil, err
	}
	err = b.cluster.WaitHealthy(b.copies, b.limit)
	k.healthy = time.Since(began)
	after.stop()
	if err != nil {
		return nil, err
	}
	for _, w := range []*writers{before, after} {
		sum, err := w.judge()
		if err != nil {
			return nil, err
		}
		k.losses.add(sum)
	}
	if k.acked == 0 {
		return nil, fmt.Errorf("no write was acknowledged: %w", before.errs())
	}
	return k, nil
}

// freezeReplica freezes the replica of a key for the time of -freeze, and returns what thaws it.
func (b *bench) freezeReplica(v *clusters.View, key string) (thaw func() error, err error) {
	_, replicas := v.Of(clusters.Slot(key))
	if b.options.freeze == 0 || len(replicas) == 0 {
		return func() error { return nil }, nil
	}
	replica := b.cluster.Node(replicas[0])
	err = replica.Freeze()
	time.Sleep(b.options.freeze)
	return replica.Thaw, err
}

// probe kills a process, and returns the time until a client that retries has written a key. With WAIT, it
// ends with the OK of the new primary: that has no replica until the killed process is back.
func (b *bench) probe(victim *clusters.Node, key string, killed func() error) (took time.Duration, recovered bool) {
	c := newClient(b.cluster, 0, probeLimit)
	defer c.close()
	c.set(key, numbered(1)) // connects, and finds the primary
	began := victim.Kill()
	if err := killed(); err != nil {
		say("%v", err)
	}
	for n := 2; time.Since(began) < b.mode.limit; n++ {
		if result, _ := c.set(key, numbered(n)); result == acked {
			return time.Since(began), true
		}
		time.Sleep(retryPause)
	}
	return 0, false
}

// replicaDeaths kills replicas and measures the longest stall of writes to their primaries' shards.
func (b *bench) replicaDeaths() error {
	for range b.options.replicas {
		v, err := b.cluster.View()
		if err != nil {
			return err
		}
		replicas := v.Replicas()
		if len(replicas) == 0 {
			if b.mode.ndring && !clusters.NdringReplicates {
				b.note("no replica to kill")
				return nil
			}
			return errors.New("there are no replicas")
		}
		victim := b.cluster.Node(replicas[rand.IntN(len(replicas))])
		keys, err := b.keys(v, writerCount, func(primary string, replicas []string) bool {
			return primary != victim.Name && slices.Contains(replicas, victim.Name)
		})
		if err != nil {
			return err
		}
		w := &writers{mode: b.mode, cluster: b.cluster, retry: true, pause: time.Millisecond}
		w.start(writerCount, keys)
		time.Sleep(loadTime)
		victim.Kill()
		time.Sleep(b.window)
		w.stop()
		d := disturbance{}
		d.longest, d.endless, d.failed = w.stall()
		if err := victim.Restart(); err != nil {
			return err
		}
		if err := b.cluster.WaitHealthy(b.copies, b.limit); err != nil {
			return err
		}
		b.result.deaths = append(b.result.deaths, d)
		say("%s: a replica died: longest stall %v, %d failed requests", b.mode.name, d, d.failed)
	}
	return nil
}

// handovers asks replicas to take over, under load.
func (b *bench) handovers() error {
	for range b.mode.moves {
		time.Sleep(b.mode.rest)
		d, err := b.handOver()
		if err != nil && b.mode.ndring && !clusters.NdringReplicates {
			b.note("no planned handover: %v", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("handover: %w", err)
		}
		b.result.moves = append(b.result.moves, d)
		say("%s: handover: longest pause %v, %d failed requests", b.mode.name, d, d.failed)
	}
	return nil
}

func (b *bench) handOver() (d disturbance, err error) {
	v, err := b.cluster.View()
	if err != nil {
		return d, err
	}
	replicas := v.Replicas()
	if len(replicas) == 0 {
		return d, errors.New("there are no replicas")
	}
	heir := b.cluster.Node(replicas[rand.IntN(len(replicas))])
	keys, err := b.keys(v, writerCount, func(primary string, replicas []string) bool {
		return primary != heir.Name && slices.Contains(replicas, heir.Name)
	})
	if err != nil {
		return d, err
	}
	w := &writers{mode: b.mode, cluster: b.cluster, retry: true, pause: time.Millisecond}
	w.start(writerCount, keys)
	time.Sleep(loadTime)
	err = b.cluster.HandOver(heir)
	for end := time.Now().Add(handoverLimit); err == nil; time.Sleep(retryPause) {
		v, failed := b.cluster.View()
		if failed == nil && !slices.ContainsFunc(keys, func(key string) bool { primary, _ := v.Of(clusters.Slot(key)); return primary != heir.Name }) {
			break
		}
		if time.Now().After(end) {
			err = fmt.Errorf("%s did not take over within %v", heir.Name, handoverLimit)
		}
	}
	time.Sleep(loadTime)
	w.stop()
	d.longest, d.endless, d.failed = w.stall()
	if err != nil {
		return d, err
	}
	return d, b.cluster.WaitHealthy(b.copies, b.limit)
}
