package main

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/bench/clusters"
)

// The traffic beside which the cluster grows and shrinks.
const (
	small      = 1 << 10
	smallKeys  = 8 // of each writer, for each shard
	writers    = 2
	readers    = 2
	smallPace  = 4 * time.Millisecond
	largePace  = 250 * time.Millisecond
	pythonPace = 8 * time.Millisecond
)

// step is a part of the time, with what happened in it.
type step struct {
	name     string
	took     time.Duration
	requests []request
	longest  []time.Duration // write of 1 KiB to each shard that got another primary
	copies   int             // that nodes have and did not have before
	least    int             // copies that had to move, at least
	size     int64           // bytes of the copies that moved, at the end
	written  int64           // bytes that clients wrote to shards while a copy of them caught up
	sent     int64           // bytes that were sent to copies that caught up
}

// growAndShrink measures clients while the cluster grows from 3 to 5 nodes, one after the other, and shrinks to 3.
func (b *bench) growAndShrink() error {
	client := goRedis(b.cluster)
	defer client.Close()
	still := registersOf("still", b.dataMiB<<20/stillBytes, stillBytes)
	var moving []*register
	for w := range writers {
		moving = append(moving, registersOf(fmt.Sprint("small", w), smallKeys*b.shards, small)...)
	}
	large := registersOf("large", 2, b.sizes...)
	moving = append(moving, large...)
	all := append(still, moving...)
	if err := fill(b.context, client, all); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	t := newTraffic(b.context)
	defer t.stop()
	if err := b.startTraffic(t, client, moving, large); err != nil {
		return err
	}
	if err := b.sleep(b.calm / 5); err != nil { // the clients connect
		return err
	}
	leaver := func(name string) func() error {
		return func() error { return b.leave(b.cluster.Node(name)) }
	}
	last := b.cluster.Nodes[2].Name
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"no move", func() error { return b.sleep(b.calm) }},
		{"3 to 4 nodes", b.join},
		{"4 to 5 nodes", b.join},
		{"5 to 4 nodes", leaver(b.cluster.Nodes[0].Name)},
		{"4 to 3 nodes", leaver(last)},
		{"no move again", func() error { return b.sleep(b.calm) }},
	} {
		if err := b.step(t, s.name, s.do); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	t.stop()
	b.report.requests, b.report.failed = len(t.requests), sum(failures(t.requests))
	for text, n := range failures(t.requests) {
		b.report.note("%d requests failed: %s", n, text)
	}
	wrong := append(t.wrong, verify(b.context, client, all)...)
	b.report.checked, b.report.wrong = len(all), len(wrong)
	return errors.Join(wrong[:min(len(wrong), 10)]...)
}

// stillBytes is the size of the arrays that no client reads or writes until the end.
const stillBytes = 256 << 10

// startTraffic starts all clients.
func (b *bench) startTraffic(t *traffic, c redis.UniversalClient, moving, large []*register) error {
	each := smallKeys * b.shards
	for w := range writers {
		t.run(c, moving[w*each:(w+1)*each], true, smallPace)
	}
	for r := range readers {
		t.run(c, slices.Concat(moving[r*each/2:writers*each], moving[:r*each/2]), false, smallPace)
	}
	t.run(c, large, true, largePace)
	t.run(c, large, false, largePace)
	if err := t.runPython(b, "python", pythonPace, small); err != nil {
		return err
	}
	return t.runPython(b, "python-large", largePace, b.sizes...)
}

// step does something and notes what happened to the clients meanwhile.
func (b *bench) step(t *traffic, name string, do func() error) error {
	before, err := b.cluster.View()
	if err != nil {
		return err
	}
	sentBefore, err := b.sent()
	if err != nil {
		return err
	}
	b.learners = nil
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	ended := time.Now()
	after, err := b.cluster.View()
	if err != nil {
		return err
	}
	sentAfter, err := b.sent()
	if err != nil {
		return err
	}
	s := step{name: name, took: ended.Sub(began)}
	for node, sent := range sentAfter {
		s.sent += sent - sentBefore[node]
	}
	if err := b.sleep(b.calm / 5); err != nil { // requests that began in the step may end after it
		return err
	}
	s.requests = t.overlapping(began, ended)
	s.longest = longest(s.requests, after, after.Transferred(before))
	fresh := after.New(before)
	s.copies, s.least = len(fresh), least(before, after)
	sizes, err := b.cluster.Sizes()
	if err != nil {
		return err
	}
	for _, i := range fresh {
		s.size += sizes[i]
	}
	s.written = b.written(s.requests, after)
	b.report.steps = append(b.report.steps, s)
	say("%s: %.1f s, %d requests, %d failed, %d copies of %d MiB and %d MiB written meanwhile, %d MiB sent", name, s.took.Seconds(), len(s.requests), sum(failures(s.requests)),
		s.copies, s.size>>20, s.written>>20, s.sent>>20)
	for text, n := range failures(s.requests) {
		say("  %d times: %s", n, text)
	}
	return nil
}

// least returns how many copies must move at least between two views: those of nodes that have left, and the shares of nodes that
// have joined, rounded down.
func least(before, after *clusters.View) (n int) {
	for _, name := range before.Members() {
		if !slices.Contains(after.Members(), name) {
			n += before.CopiesOn()[name]
		}
	}
	for _, name := range after.Members() {
		if !slices.Contains(before.Members(), name) {
			all := 0
			for _, copies := range after.CopiesOn() {
				all += copies
			}
			n += all / len(after.Members())
		}
	}
	return n
}

// seen is when which shards had a copy that caught up.
type seen struct {
	at     time.Time
	shards []int
}

// look returns what a node sees, and notes which copies catch up.
func (b *bench) look() (*clusters.View, error) {
	v, err := b.cluster.View()
	if err == nil {
		b.learners = append(b.learners, seen{time.Now(), v.CatchingUp()})
	}
	return v, err
}

// written returns the bytes of the writes that ended while a copy of their shard caught up: they have to be sent to that copy, too.
func (b *bench) written(all []request, v *clusters.View) (bytes int64) {
	for _, r := range all {
		if !r.write || r.failed != "" {
			continue
		}
		i := sort.Search(len(b.learners), func(i int) bool { return b.learners[i].at.After(r.at) })
		if i < len(b.learners) && slices.Contains(b.learners[i].shards, v.Range(clusters.Slot(r.key))) {
			bytes += int64(r.size)
		}
	}
	return bytes
}

// sent returns the bytes that each node has sent to copies that caught up.
func (b *bench) sent() (map[string]int64, error) {
	sent := map[string]int64{}
	for _, n := range b.cluster.All() {
		values, err := n.Counters("replication", "repl_moved_bytes")
		if err != nil {
			return nil, err
		}
		sent[n.Name] = values[0]
	}
	return sent, nil
}

// join starts a node, and returns when it has its share.
func (b *bench) join() error {
	n, err := b.cluster.Join(b.limit)
	if err != nil {
		return err
	}
	return b.until(func() error {
		v, err := b.look()
		switch {
		case err != nil:
			return err
		case v.Assigned()[n.Name] == 0:
			return fmt.Errorf("%s has no share yet", n.Name)
		case v.Moving() > 0:
			return fmt.Errorf("%d shards have yet to move", v.Moving())
		}
		return v.Issue()
	})
}

// leave makes a node leave, and returns when it has handed on all it had.
func (b *bench) leave(n *clusters.Node) error {
	if err := b.cluster.Leave(n); err != nil {
		return err
	}
	return b.until(func() error {
		v, err := b.look()
		if err == nil && (slices.Contains(v.Members(), n.Name) || v.Moving() > 0) {
			err = fmt.Errorf("%s is still a member, %d shards have yet to move", n.Name, v.Moving())
		}
		return err
	})
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}
