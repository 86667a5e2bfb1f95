package shard

import (
	"errors"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/replica"
)

// A whole copy is taken only with room for it and a tenth more, beside the copies that are on their way. What has arrived counts as used.
func TestRoomForCopies(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	source := Source{there, 2, 2}
	row := replica.Config{Epoch: 2, LeaderEpoch: 2, Born: 1, Primary: there, ISR: []replica.Process{there}, Learners: []replica.Process{here}}
	for _, id := range []int{1, 2} {
		must(t, 0, p.Shard(id).Role().Configure(row))
	}
	install := func(id int, bytes int64) (*Installation, error) {
		return p.Shard(id).Member().Install(source, replica.Point{Epoch: 2, Seq: 1}, nil, bytes)
	}
	want := func(when string, memory, disk int64) {
		t.Helper()
		if m, d := p.Room(); m != memory || d != disk {
			t.Errorf("%s there is room for %d and %d bytes, want %d and %d", when, m, d, memory, disk)
		}
	}
	m := p.Memory()
	m.MeasureBy(func() memory.Program { return memory.Program{} })
	p.mem.SetFree(3_000_000)
	p.Disk().Configure(DiskConfig{Reserve: 1_000_000})
	want("without a limit", topology.NoLimit, 2_000_000)
	for _, policy := range []Policy{AllKeysLRU, NoEviction} {
		m.Configure(MemoryConfig{Limit: m.Used() + 1_000_000, Policy: policy})
		if policy != NoEviction {
			want("with eviction", topology.NoLimit, 2_000_000)
		}
	}
	want("with a limit", 1_000_000, 2_000_000)
	if _, err := install(1, 950_000); !errors.Is(err, ErrMemoryFull) {
		t.Errorf("a copy that leaves no tenth: %v", err)
	}
	first, err := install(1, 600_000)
	must(t, 0, err)
	want("beside a copy", 340_000, 1_340_000)
	if _, err := install(2, 400_000); !errors.Is(err, ErrMemoryFull) {
		t.Errorf("a second copy without room: %v", err)
	}
	second, err := install(2, 100_000)
	must(t, 0, err)
	want("beside two copies", 230_000, 1_230_000)
	must(t, 0, first.put("k", 400_000))
	used := 1_000_000 - (m.Config().Limit - m.Used())
	if memory, _ := p.Room(); memory < 228_000 || memory > 232_000 || used < 400_000 {
		t.Errorf("after %d bytes have arrived there is room for %d", used, memory)
	}
	first.Abort()
	second.Abort()
	want("at the end", 1_000_000, 2_000_000)
	p.mem.SetFree(1_100_000)
	if _, err := install(1, 100_000); !errors.Is(err, ErrDiskFull) {
		t.Errorf("a copy without room on the disk: %v", err)
	}
	unknown, err := install(1, 0) // of a program that does not say how much comes
	must(t, 0, err)
	unknown.Abort()
	want("at the end", 1_000_000, 100_000)
	p.mem.SetFree(1 << 40)
}

// put adds a value of n bytes, as Put does with what arrives.
func (i *Installation) put(key string, n int) error {
	v := Value{NPY: make([]byte, n)}
	v.Buffer = i.decoder.pool.Copy(v.NPY)
	v.NPY = v.Buffer.Bytes()
	e := newEntry(i.decoder.pool, []byte(key), &v, 0, i.decoder.now)
	i.entries = append(i.entries, e)
	i.arrived(e)
	return nil
}

// A copy has its bytes and keys also where it is not served. Reads and writes of clients only rise.
func TestUsage(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	p.sh = p.of("k")
	p.lead(here)
	before := p.sh.Copies().Usage()
	p.store("k", "value")
	p.store("k", "another value")
	for _, key := range []string{"k", "none"} {
		if e := p.sh.Get([]byte(key), true); e != nil {
			e.Release()
		}
	}
	u := p.sh.Copies().Usage()
	if u.Keys != 1 || u.Bytes < 50 || u.Bytes > 1000 || u.Reads != before.Reads+2 || u.Writes != before.Writes+2 {
		t.Errorf("%+v after %+v", u, before)
	}
	p.ResetStats()
	if again := p.sh.Copies().Usage(); again != u {
		t.Errorf("after a reset of the statistics %+v, not %+v", again, u)
	}
	p.leaves()
	if again := p.sh.Copies().Usage(); again != u {
		t.Errorf("not served %+v, not %+v", again, u)
	}
	if _, err := p.sh.Copies().Drop(); err != nil || p.sh.Copies().Usage().Bytes != 0 || p.sh.Copies().Usage().Keys != 0 {
		t.Errorf("dropped %+v, %v", p.sh.Copies().Usage(), err)
	}
}
