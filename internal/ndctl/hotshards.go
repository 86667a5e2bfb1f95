package ndctl

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

type hotShardReports []hotShardReport

type hotShardReport struct {
	Shard   int     `json:"shard" doc:"number of the shard"`
	First   int     `json:"first_slot" doc:"its first slot"`
	Last    int     `json:"last_slot" doc:"its last slot"`
	Primary string  `json:"primary" doc:"name of its primary; empty if it has none"`
	Reads   float64 `json:"reads_per_second" doc:"reads of clients per second"`
	Writes  float64 `json:"writes_per_second" doc:"writes of clients per second"`
	Keys    *int64  `json:"keys" doc:"number of its keys; null if its primary does not answer"`
	Bytes   *int64  `json:"memory_bytes" doc:"memory that they use; null if its primary does not answer"`
	Share   float64 `json:"share" doc:"its share of the reads and writes of all shards, from 0 to 1"`
}

// nodeLoad is what a node said about its shards.
type nodeLoad struct {
	at          time.Time
	incarnation uint64
	shards      map[int]topology.ShardLoad
}

// fetchLoads asks all nodes for the load of their shards. That of a node that does not answer is nil.
func fetchLoads(ctx context.Context, s *session) ([]*nodeLoad, nodeFailures) {
	all := make([]*nodeLoad, len(s.members))
	failed := each(ctx, s.members, func(ctx context.Context, i int, m *member) error {
		text, err := m.do(ctx, "CLUSTER", "LOAD").Text()
		switch {
		case isEarlierVersion(err):
			return errEarlierVersion
		case err != nil:
			return err
		}
		var load topology.Load
		if err := json.Unmarshal([]byte(text), &load); err != nil {
			return fmt.Errorf("cannot read its answer to CLUSTER LOAD: %w", err)
		}
		all[i] = &nodeLoad{time.Now(), load.Incarnation, map[int]topology.ShardLoad{}}
		for _, shard := range load.Shards {
			all[i].shards[int(shard.Shard)] = shard
		}
		return nil
	})
	return all, failed
}

func showHotShards(ctx context.Context, s *session, p *printer, interval time.Duration, once bool, count int) error {
	before, _ := fetchLoads(ctx, s)
	for {
		if !sleep(ctx, interval) {
			return nil // Ctrl-C is the normal end
		}
		now, failed := fetchLoads(ctx, s)
		c := s.cluster
		if fresh, err := fetchCluster(ctx, s.self().client); err == nil {
			c = fresh // primaries change
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case len(failed) == len(s.members):
			return p.failures(failed)
		}
		reports := hotShards(c, s.members, before, now)
		if !once {
			p.printf("\x1b[H\x1b[2J")
		}
		if err := p.show(reports[:min(count, len(reports))]); err != nil {
			return err
		}
		if once {
			return p.failures(failed)
		}
		before = now
	}
}

// hotShards compares two answers of each node, in the order of the nodes, and returns all shards, the hottest first.
func hotShards(c *view.Cluster, nodes []*member, before, now []*nodeLoad) hotShardReports {
	reports := make(hotShardReports, len(c.Shards))
	sum := 0.0
	for i := range reports {
		r := &reports[i]
		first, last := c.Slots(i)
		*r = hotShardReport{Shard: i, First: first, Last: last, Primary: c.Label(c.Shards[i].Primary)}
		for at, load := range now {
			if load == nil {
				continue
			}
			shard := load.shards[i]
			if nodes[at].ID == c.Shards[i].Primary {
				r.Keys, r.Bytes = pointer(shard.Keys), pointer(shard.Bytes)
			}
			reads, writes := load.rates(before[at], i)
			r.Reads += reads
			r.Writes += writes
		}
		sum += r.Reads + r.Writes
	}
	for i := range reports {
		if sum > 0 {
			reports[i].Share = (reports[i].Reads + reports[i].Writes) / sum
		}
	}
	slices.SortStableFunc(reports, func(a, b hotShardReport) int {
		return cmp.Or(cmp.Compare(b.Reads+b.Writes, a.Reads+a.Writes), cmp.Compare(b.size(), a.size()))
	})
	return reports
}

// size returns the bytes of the shard, as far as they are known.
func (r *hotShardReport) size() int64 {
	if r.Bytes == nil {
		return -1
	}
	return *r.Bytes
}

// rates returns the reads and writes of a shard per second since another answer of the node. They are 0 if the node has been
// restarted, and for a shard that had no data then: its totals may be of an earlier time.
func (l *nodeLoad) rates(before *nodeLoad, shard int) (reads, writes float64) {
	if before == nil || before.incarnation != l.incarnation {
		return 0, 0
	}
	seconds := l.at.Sub(before.at).Seconds()
	was, known := before.shards[shard]
	is, still := l.shards[shard]
	if !known || !still || seconds <= 0 {
		return 0, 0
	}
	return float64(max(0, is.Reads-was.Reads)) / seconds, float64(max(0, is.Writes-was.Writes)) / seconds
}

func (all hotShardReports) print(p *printer) {
	t := newTable("SHARD", "SLOTS", "PRIMARY", "READS/S", "WRITES/S", "KEYS", "MEMORY", "SHARE")
	for _, r := range all {
		keys, bytes := unknown, unknown
		if r.Keys != nil {
			keys, bytes = number(*r.Keys), size(*r.Bytes)
		}
		t.add(number(int64(r.Shard)), text(slotsText(r.First, r.Last)), text(orDash(r.Primary)), rightAligned(fmt.Sprintf("%.0f", r.Reads)),
			rightAligned(fmt.Sprintf("%.0f", r.Writes)), keys, bytes, rightAligned(fmt.Sprintf("%.1f %%", 100*r.Share)))
	}
	t.print(p)
}
