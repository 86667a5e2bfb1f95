package protocol

import (
	"fmt"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// removeExpired does what the store does ten times a second.
func (s *testServer) removeExpired(key string) {
	shard.RemoveExpired(s.store.Shard(int(topology.ShardOfKey([]byte(key), 256))), 100)
}

// During a pause keys are not removed: reads still find expired keys.
func TestNothingExpiresInAPause(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"WRITE", "ALL"} {
		s := start(t, Config{})
		c := s.dial(t)
		c.want("+OK", "NP.SET", "k", arrayA, "PX", "1000")
		c.want("+OK", "CLIENT", "PAUSE", "1000000", mode)
		s.now.Add(2000)
		s.removeExpired("k")
		if mode == "WRITE" {
			c.want("$nil", "NP.GET", "k")
			c.want(":0", "EXISTS", "k")
			c.want(":-2", "TTL", "k")
			c.want(":1", "DBSIZE")
		}
		if stats := s.Stats().Store; stats.Keys != 1 || stats.Expired != 0 {
			t.Errorf("%s: %d keys, %d expired", mode, stats.Keys, stats.Expired)
		}
		c.want("+OK", "CLIENT", "UNPAUSE")
		s.removeExpired("k")
		if stats := s.Stats().Store; stats.Keys != 0 || stats.Expired != 1 {
			t.Errorf("%s: %d keys, %d expired afterwards", mode, stats.Keys, stats.Expired)
		}
	}
}

// During a pause nothing is evicted: a write waits before room is made for it, whether it is small or large.
func TestNothingIsEvictedInAPause(t *testing.T) {
	t.Parallel()
	for _, bytes := range []int{1000, 1 << 20} {
		s := start(t, Config{})
		c, admin := s.dial(t), s.dial(t)
		for i := range 10 {
			c.want("+OK", "NP.SET", fmt.Sprint("k", i), bytesNPY(1<<20, ""))
		}
		s.steady()
		config := *s.config.Load()
		config.Memory.Policy, config.Memory.Limit = shard.AllKeysLRU, s.store.Memory().Used()-5<<20
		admin.want("+OK", "CLIENT", "PAUSE", "1000000", "WRITE")
		s.Reconfigure(config)
		c.send(encode("NP.SET", "k", bytesNPY(bytes, "")))
		eventually(t, "the write waits", func() bool { return s.pause.waiting.Load() == 1 })
		if stats := s.Stats(); stats.Store.Evicted != 0 || stats.UploadBytes > int64(2*bytes) {
			t.Errorf("%d keys are evicted, %d bytes are in transit", stats.Store.Evicted, stats.UploadBytes)
		}
		admin.want("+OK", "CLIENT", "UNPAUSE")
		if got := c.reply(); got != "+OK" {
			t.Error(got)
		}
		if n := s.Stats().Store.Evicted; n == 0 {
			t.Error("nothing is evicted afterwards")
		}
	}
}
