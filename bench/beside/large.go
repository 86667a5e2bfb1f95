package main

import (
	"fmt"
	"time"

	"github.com/ndring/ndring/bench/clusters"
	"github.com/ndring/ndring/bench/npy"
)

const (
	largeKeys  = 4 // the large values take turns at these, so that they do not fill the memory
	largePace  = 2 * time.Millisecond
	largeLimit = 2 * time.Minute // for one write
	smallKeys  = 512
)

// largeResult is the traffic without and beside writes of large values.
type largeResult struct {
	idle, beside *sample
	took         []time.Duration // each large write
	counts
}

// largeValues measures small requests beside writes of large values.
func (b *bench) largeValues() error {
	t, err := b.small(smallKeys, largePace, anywhere)
	if err != nil {
		return err
	}
	t.start(4, 2)
	defer t.stop()
	if err := b.sleep(b.idle / 4); err != nil { // the clients connect
		return err
	}
	r := &largeResult{}
	began := time.Now()
	if err := b.sleep(b.idle); err != nil {
		return err
	}
	r.idle = t.since(began)
	value := npy.Float32(b.largeMiB << 20)
	keys, err := b.spread()
	if err != nil {
		return err
	}
	earlier, err := stateOf(b.cluster)
	if err != nil {
		return err
	}
	began = time.Now()
	for i := range b.writes {
		took, err := b.store(keys[i%len(keys)], value)
		if err != nil {
			return fmt.Errorf("large write %d: %w", i+1, err)
		}
		r.took = append(r.took, took)
		say("large write %d of %d: %v", i+1, b.writes, took.Round(time.Millisecond))
	}
	r.beside = t.since(began)
	now, err := stateOf(b.cluster)
	if err != nil {
		return err
	}
	r.counts = now.since(earlier)
	b.report.large = r
	return nil
}

// spread returns keys of different shards, whose primaries are the nodes in turn.
func (b *bench) spread() ([]string, error) {
	v, err := b.cluster.View()
	if err != nil {
		return nil, err
	}
	var keys []string
	for i := range largeKeys {
		node := b.cluster.Nodes[i%len(b.cluster.Nodes)].Name
		more, err := v.Keys(1, fmt.Sprintf("large:%d", i), func(primary string, _ []string) bool { return primary == node })
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// store writes a large value to the primary of its key.
func (b *bench) store(key string, value []byte) (time.Duration, error) {
	if err := b.context.Err(); err != nil {
		return 0, err
	}
	v, err := b.cluster.View()
	if err != nil {
		return 0, err
	}
	primary, _ := v.Of(clusters.Slot(key))
	conn, err := clusters.Dial(b.cluster.Node(primary).Addr, largeLimit)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	err = conn.Store(b.cluster.Set, key, value)
	return time.Since(began), err
}
