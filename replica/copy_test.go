package replica

import "testing"

var self = Process{"a", 1}

// A write of a shard with one copy must not allocate.
func TestAloneAppendsWithoutAllocation(t *testing.T) {
	c := New(self, nil, 0, 0)
	c.Configure(Config{Epoch: 1, LeaderEpoch: 1, Primary: self, ISR: []Process{self}}, 0, 0)
	seq := uint64(0)
	c.Appended(1)
	allocations := testing.AllocsPerRun(1000, func() {
		seq++
		if e := c.Appended(seq + 1); e.Commit != seq+1 {
			t.Fatalf("the commit index is %d, want %d", e.Commit, seq+1)
		}
		c.Tick(int64(seq), seq, true)
	})
	if allocations != 0 {
		t.Errorf("%.1f allocations for each append", allocations)
	}
}

// A row of an earlier program has no leader epoch: each of its epochs begins a new one.
func TestRowWithoutLeaderEpoch(t *testing.T) {
	c := New(self, nil, 0, 0)
	cfg := Config{Epoch: 4, Primary: self, ISR: []Process{self}}
	if e := c.Configure(cfg, 0, 0); !e.Open || e.StepDown {
		t.Fatalf("the first row: %v", e)
	}
	cfg.Epoch = 5
	if e := c.Configure(cfg, 0, 0); !e.StepDown || !e.Open {
		t.Fatalf("the next row: %v", e)
	}
}

func BenchmarkAlone(b *testing.B) {
	c := New(self, nil, 0, 0)
	c.Configure(Config{Epoch: 1, LeaderEpoch: 1, Primary: self, ISR: []Process{self}}, 0, 0)
	for i := range b.N {
		if e := c.Appended(uint64(i) + 1); e.Commit == 0 {
			b.Fatal("not committed")
		}
	}
}

// What is of a time before the shard last began empty must go; an empty copy has nothing to remove.
func TestOutdated(t *testing.T) {
	c := New(self, EpochTable{{3, 1}}, 5, 5)
	if c.Outdated(3) || !c.Outdated(4) || New(self, nil, 0, 0).Outdated(4) {
		t.Error("a copy whose log ends in epoch 3 is outdated exactly in a shard that began empty later")
	}
}
