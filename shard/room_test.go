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
		m, d := RoomOf(p.Store)
		awaited := p.room.awaited.Load()
		if m != topology.NoLimit {
			m -= awaited
		}
		if d -= awaited; m != memory || d != disk {
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
	if _, err := install(1, 1000); !errors.Is(err, ErrNotTaken) {
		t.Errorf("a second copy of a shard: %v", err)
	}
	want("beside a copy", 340_000, 1_340_000)
	if _, err := install(2, 400_000); !errors.Is(err, ErrMemoryFull) {
		t.Errorf("a second copy without room: %v", err)
	}
	second, err := install(2, 100_000)
	must(t, 0, err)
	want("beside two copies", 230_000, 1_230_000)
	must(t, 0, first.put("k", 400_000))
	used := 1_000_000 - (m.Config().Limit - m.Used())
	memory, _ := RoomOf(p.Store)
	if memory -= p.room.awaited.Load(); memory < 228_000 || memory > 232_000 || used < 400_000 {
		t.Errorf("after %d bytes have arrived there is room for %d", used, memory)
	}
	first.Abort()
	second.Abort()
	want("at the end", 1_000_000, 2_000_000)
	p.mem.SetFree(1_100_000)
	if _, err := install(1, 100_000); !errors.Is(err, ErrDiskFull) {
		t.Errorf("a copy without room on the disk: %v", err)
	}
	first, err = install(1, 60_000)
	must(t, 0, err)
	if _, err := install(2, 60_000); !errors.Is(err, ErrDiskFull) {
		t.Errorf("a second copy without room on the disk: %v", err)
	}
	first.Abort()
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
	i.add(e)
	return nil
}

// What a copy has is what its values take in memory, or on disk if that is more, also where it is not served. So the receiving node
// needs no more room than the planner of the move has checked.
func TestLoadOf(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	p.lead(here)
	p.fill()
	if e := p.sh.Get([]byte("{0}1"), true); e == nil {
		t.Error("a key is missing")
	} else {
		e.Release()
	}
	image, err := p.sh.Primary().Image()
	must(t, 0, err)
	l := LoadOf(p.sh)
	if l.Bytes < image.Bytes || l.Bytes > image.Bytes*11/10 || l.Keys != 21 || l.Reads != 1 || l.Writes < 21 {
		t.Errorf("%+v, and a whole copy has %d bytes", l, image.Bytes)
	}
	image.Close()
	p.leaves()
	if again := LoadOf(p.sh); again != l {
		t.Errorf("not served %+v, not %+v", again, l)
	}
	p.drop()
	if again := LoadOf(p.sh); again.Bytes != 0 || again.Keys != 0 {
		t.Errorf("dropped %+v", again)
	}
}
