package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
)

// checkSum fails the test if the sum of an index is not that of its entries.
func checkSum(t *testing.T, x *index) {
	t.Helper()
	sum := uint64(0)
	for _, e := range x.all() {
		sum += digestOf(e, xxhash.Sum64(e.Key()))
	}
	if sum != x.sum {
		t.Errorf("the sum is %x, that of the entries is %x", x.sum, sum)
	}
}

// The sum follows every kind of change, and is the same after a restart.
func TestSumFollowsTheEntries(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l, err := openLab(t, mem, "a", FsyncEverysec)
	must(t, l, err)
	r := rand.New(rand.NewPCG(1, 2))
	sh := l.of("k")
	empty := sh.index.sum
	for i := range 2000 {
		key := fmt.Appendf(nil, "key-%d", r.IntN(50))
		switch r.IntN(10) {
		case 0, 1:
			_, err = settled(sh.Delete([][]byte{key}))
		case 2:
			_, err = settled(sh.Expire(key, l.now+int64(1+r.IntN(50)), ExpireCondition{}))
		case 3:
			_, err = settled(sh.Persist(key))
		case 4:
			l.now += int64(r.IntN(20))
			RemoveExpired(sh, 10)
		default:
			v, _ := l.value(fmt.Sprint("value ", i), 10+r.IntN(100), false)
			_, err = settled(sh.Set(Write{Key: key, Value: v}))
		}
		must(t, 0, err)
		if i%100 == 0 {
			checkSum(t, &sh.index)
		}
	}
	sh.index.defragment()
	checkSum(t, &sh.index)
	_, sum := sh.Member().Digest()
	if sum == empty {
		t.Error("the entries have the sum of none")
	}
	l.kill()
	l, err = openLab(t, mem, "a", FsyncEverysec)
	must(t, l, err)
	defer l.kill()
	sh = l.of("k")
	checkSum(t, &sh.index)
	if _, after := sh.Member().Digest(); after != sum {
		t.Errorf("the sum is %x after a restart, %x before", after, sum)
	}
	must(t, 0, settle(sh.Flush()))
	if sh.index.sum != 0 {
		t.Error("nothing has a sum")
	}
}

// No digest is noted while the copy has dropped entries whose removal its log has refused: other copies may have them.
func TestForgottenEntriesEndTheDigests(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	p.goOn(here)
	_, err := settled(p.sh.Set(Write{Key: []byte(asked), Value: p.text("short"), Expiry: Expiry{At: p.now + 5}}))
	must(t, 0, err)
	if d := p.sh.Primary().NewestDigest(); d.Seq == 0 {
		t.Error("a no-op has noted no digest")
	}
	p.now += 10
	p.broken = true
	RemoveExpired(p.sh, 10)
	p.broken = false
	if p.sh.Keys() != 0 {
		t.Fatal("the entry is still there")
	}
	before := p.sh.Primary().NewestDigest()
	p.now += 2 * noOpInterval
	p.sh.Set(Write{Key: []byte(asked), Value: p.text("again")})
	if d := p.sh.Primary().NewestDigest(); d != before {
		t.Errorf("digest %v of entries that other copies may have besides", d)
	}
}

// A primary that is alone for a while keeps expired entries while its log refuses their removal: the copy that comes back has them,
// and a restart of the primary from a snapshot would not.
func TestExpiredEntriesStayWhileOtherCopiesHaveThem(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]func(*replica.Config){
		"assigned": func(c *replica.Config) { c.Assigned = []replica.Process{here, there} },
		"learner":  func(c *replica.Config) { c.Learners = []replica.Process{there} },
	} {
		p := newPair(t, true)
		row(&p.row)
		p.goOn(here)
		_, err := settled(p.sh.Set(Write{Key: []byte(asked), Value: p.text("short"), Expiry: Expiry{At: p.now + 5}}))
		must(t, 0, err)
		p.now += 10
		p.broken = true
		RemoveExpired(p.sh, 10)
		p.broken = false
		if p.sh.Keys() != 1 {
			t.Errorf("%s: the entry is gone without a record", name)
		}
		p.end()
	}
}

// Only three copies of a node are replaced within an hour, one at a time.
func TestRepairsAreFew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := &f.store.process.repairs
	hour := int64(repairsWindow)
	first, second := &f.store.Shard(0).localCopy, &f.store.Shard(1).localCopy
	begin := func(c *localCopy, now int64, want, wantAlarm bool) {
		t.Helper()
		if ok, alarm := r.begin(c, now); ok != want || alarm != wantAlarm {
			t.Errorf("at %d: %v, alarm %v", now, ok, alarm)
		}
	}
	begin(first, 1, true, false)
	(following{first}).cannotFollow()
	begin(second, 2, false, false)
	first.mustInstall = false
	begin(second, 3, true, false)
	begin(first, 4, true, false)
	begin(first, 5, false, true)
	begin(first, 6, false, false)
	begin(first, hour+2, true, false)
	if s := f.store.CopyStats(); s.Repairs != 4 || s.RepairsRefused != 1 {
		t.Errorf("%+v", s)
	}
}
