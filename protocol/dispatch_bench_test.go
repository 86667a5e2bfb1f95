package protocol

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// benchCluster is a cluster of one node.
type benchCluster struct {
	Cluster
	topology *topology.Topology
}

func (b benchCluster) Topology() *topology.Topology { return b.topology }
func (benchCluster) Self() topology.NodeID          { return selfID }

// BenchmarkDispatch measures a command between reading it and sending the reply.
func BenchmarkDispatch(b *testing.B) {
	topo, err := topology.Single(topology.Node{ID: selfID}, 256, 7)
	if err != nil {
		b.Fatal(err)
	}
	pool := new(memory.Pool)
	store := shard.NewStore(256, 7, func() int64 { return 1_700_000_000_000 }, pool)
	s := NewServer(Config{}, store, benchCluster{topology: topo}, nil, pool, slog.New(slog.NewTextHandler(io.Discard, nil)))
	limits := resp.Limits{MaxArgs: 100, MaxBulk: 100_000, MaxSkip: 400_000, Wait: time.Millisecond}
	for name, text := range map[string]string{
		"GET":    encode("NP.GET", "key:123"),
		"EXISTS": encode("EXISTS", "key:123"),
		"SET":    encode("NP.SET", "key:123", arrayA),
	} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				c := newConn(s, ours, Listener{Name: "default"}, 1)
				defer c.end()
				c.reader = resp.NewReader(resp.Stream(&resptest.Endless{Command: text}), pool, new(memory.Pool), resp.NewBudget(1<<30), limits, nil, nil)
				for pb.Next() {
					args, err := c.reader.Next()
					if err != nil {
						b.Error(err)
						return
					}
					s.dispatch(c, args)
					resp.Release(c.replies.Out.Take())
				}
			})
		})
	}
	store.Release()
}
