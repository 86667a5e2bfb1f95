package shard

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ndring/ndring/replica"
)

// modelled is a record of the model: what it does to a key, or to all.
type modelled struct {
	seq, batch uint64
	key        string // "" for none
	now        fact   // with a value
	there      bool
	flush      bool
	request    string // id and key
	outcome    Outcome
}

// suffixModel applies random operations to a shard with two copies, to a plain list of records, and compares.
type suffixModel struct {
	*pair
	seed    uint64
	n       int
	r       *rand.Rand
	log     []modelled
	applied uint64     // commit index
	acked   uint64     // by the other copy
	heads   []seenHead // of the records
	saved   uint64     // commit index of the newest snapshot
	futures []expected
}

// seenHead is what the head of a record says.
type seenHead struct{ seq, commit uint64 }

// wrote notes that records up to end were appended at a commit index.
func (m *suffixModel) wrote(end, commit uint64) {
	m.heads = append(m.heads, seenHead{end, commit})
}

// onDisk returns the commit index that a start finds: a truncation may have removed the record that had a greater one.
func (m *suffixModel) onDisk() uint64 {
	found := m.saved
	for _, h := range m.heads {
		found = max(found, h.commit)
	}
	return found
}

// expected is a future and the seq that must be committed for it.
type expected struct {
	f      Future
	seq    uint64
	leader uint64
}

func (m *suffixModel) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d, step %d: %s", m.seed, m.n, fmt.Sprintf(format, args...))
}

// fold returns the keys after all records up to a seq.
func (m *suffixModel) fold(seq uint64) state {
	keys := state{}
	for _, rec := range m.log {
		switch {
		case rec.seq > seq:
		case rec.flush:
			clear(keys)
		case rec.key == "":
		case rec.there:
			keys[rec.key] = rec.now
		default:
			delete(keys, rec.key)
		}
	}
	return keys
}

// tx performs several operations in one transaction, and compares each with the model of all that is appended.
func (m *suffixModel) tx() {
	keys := m.fold(math.MaxUint64)
	var added []modelled
	live := func(key string) (fact, bool) {
		f, there := keys[key]
		return f, there && (f.at == 0 || m.Now() < f.at)
	}
	newest := uint64(0)
	if len(m.log) > 0 {
		newest = m.log[len(m.log)-1].seq
	}
	before := m.newest()
	alone := m.sh.Alone()
	f, err := m.sh.Update(true, func(tx *Tx) {
		for range 1 + m.r.IntN(2)*m.r.IntN(4) {
			key := fmt.Sprint(asked, m.r.IntN(4))
			old, there := live(key)
			if got := tx.Peek([]byte(key)); (got != nil) != there || got != nil && got.Version() != old.version {
				m.fail("a transaction finds %v under %s, want %v", got, key, old)
			} else if got != nil {
				got.Release()
			}
			rec, did := m.step(tx, key, old, there, added)
			if !did {
				continue
			}
			added = append(added, rec)
			if rec.there {
				keys[key] = rec.now
			} else if rec.key != "" {
				delete(keys, rec.key)
			}
		}
	})
	must(m.t, f, err)
	m.appended(before, alone, added)
	want := m.newest()
	if len(added) == 0 {
		want = 0
	}
	m.expect(f, want, newest)
}

// step performs one operation of a transaction.
func (m *suffixModel) step(tx *Tx, key string, old fact, there bool, added []modelled) (rec modelled, did bool) {
	switch m.r.IntN(8) {
	case 0:
		n, err := tx.Delete(keys(key))
		must(m.t, n, err)
		_, stored := m.withAdded(added)[key]
		if (n == 1) != there {
			m.fail("%d deletions of %s, want %v", n, key, there)
		}
		return modelled{key: key}, stored
	case 1:
		at := m.Now() + 1 + m.r.Int64N(3000)
		done, err := tx.Expire([]byte(key), at, ExpireCondition{})
		if must(m.t, done, err) != there {
			m.fail("expire %s: %v", key, done)
		}
		old.at = at
		return modelled{key: key, now: old, there: true}, there
	case 2:
		done, err := tx.Persist([]byte(key))
		if want := there && old.at != 0; must(m.t, done, err) != want {
			m.fail("persist %s: %v", key, done)
		} else if !want {
			return rec, false
		}
		old.at = 0
		return modelled{key: key, now: old, there: true}, true
	}
	return m.set(tx, key, old, there, added)
}

// withAdded returns the keys after the records of a transaction that is under way.
func (m *suffixModel) withAdded(added []modelled) state {
	all := suffixModel{log: append(append([]modelled{}, m.log...), added...)}
	return all.fold(math.MaxUint64)
}

func (m *suffixModel) set(tx *Tx, key string, old fact, there bool, added []modelled) (rec modelled, did bool) {
	text := fmt.Sprint(key, "@", m.n, ":", len(added))
	w := Write{Key: []byte(key), Value: m.text(text)}
	holds := true
	switch m.r.IntN(5) {
	case 0:
		w.Condition, holds = IfMissing, !there
	case 1:
		w.Condition, holds = IfPresent, there
	case 2:
		w.Condition, w.IfVersion, holds = IfVersion, old.version, there
	}
	if m.r.IntN(3) == 0 {
		w.Expiry.At = m.Now() + 1 + m.r.Int64N(3000)
	}
	if m.r.IntN(2) == 0 {
		w.RequestID = fmt.Sprint(m.r.IntN(30))
		for _, known := range append(append([]modelled{}, m.log...), added...) {
			if known.request == w.RequestID+key {
				o, err := tx.Set(w)
				if must(m.t, o, err) != known.outcome {
					m.fail("a repeat got %v, the first attempt %v", o, known.outcome)
				}
				return rec, false
			}
		}
	}
	o, err := tx.Set(w)
	if must(m.t, o, err).Done != holds {
		m.fail("set %s: %v, want %v", key, o, holds)
	}
	rec = modelled{outcome: o, request: w.RequestID + key}
	if w.RequestID == "" {
		rec.request = ""
	}
	if !holds {
		return rec, w.RequestID != ""
	}
	rec.key, rec.now, rec.there = key, fact{text, w.Expiry.At, o.Version}, true
	return rec, true
}

// appended adds records to the model: the newest ones of the log, as one batch.
func (m *suffixModel) appended(before uint64, alone bool, added []modelled) {
	end := m.newest()
	for i := range added {
		added[i].seq, added[i].batch = end-uint64(len(added)-1-i), end
		m.log = append(m.log, added[i])
	}
	switch {
	case end == before:
	case alone:
		m.applied = end
		m.wrote(end, end)
	default:
		m.wrote(end, m.applied)
	}
}

// expect keeps a future. Own is the seq of its own record, 0 if it has none, and newest that of the newest record before.
func (m *suffixModel) expect(f Future, own, newest uint64) {
	switch done, err := f.Done(); {
	case own > m.applied && (done || err != nil):
		m.fail("a future is complete at once: %v", err)
	case own != 0 && own <= m.applied && (!done || err != nil):
		m.fail("the future of a committed change: %v, %v", done, err)
	case own == 0 && !m.sh.Alone() && f.seq > newest:
		m.fail("a reply rests on the change %d, the newest is %d", f.seq, newest)
	}
	if own != 0 {
		m.futures = append(m.futures, expected{f, own, m.row.LeaderEpoch})
	}
}

// check compares what readers see, the counts and the futures with the model.
func (m *suffixModel) check() {
	want := m.fold(m.applied)
	got := state{}
	m.sh.index.table.each(func(e *Entry) bool {
		got[string(e.Key())] = fact{string(e.NPY()), e.ExpireAt(), e.Version()}
		return true
	})
	if !maps.Equal(got, want) {
		m.fail("readers see %s, want %s (commit index %d)", brief(got), brief(want), m.applied)
	}
	withTTL := 0
	for key, f := range want {
		if f.at != 0 {
			withTTL++
		}
		mark := m.sh.Mark([]byte(key))
		if live := f.at == 0 || m.Now() < f.at; live && mark != (Mark{f.version, f.at}) {
			m.fail("the mark of %s is %v, readers see %v", key, mark, f)
		}
	}
	latest := m.fold(math.MaxUint64)
	for i := range 4 {
		key := fmt.Sprint(asked, i)
		e, _ := m.sh.localCopy.find([]byte(key))
		if f, there := latest[key]; (e != nil) != there || there && (e.Version() != f.version || e.ExpireAt() != f.at) {
			m.fail("writers see %v under %s, want %v", e, key, f)
		}
	}
	c := &m.sh.index.counts
	if c.keys.Load() != int64(len(want)) || c.keysWithTTL.Load() != int64(withTTL) {
		m.fail("%d keys and %d with a deadline are counted, want %d and %d", c.keys.Load(), c.keysWithTTL.Load(), len(want), withTTL)
	}
	for _, x := range m.futures {
		done, err := x.f.Done()
		switch {
		case x.leader != m.row.LeaderEpoch || !m.sh.Alone() && m.row.Primary != here: // deposed: settled checks it
		case done != (x.seq <= m.applied) || err != nil:
			m.fail("the future of %d at commit index %d: %v, %v", x.seq, m.applied, done, err)
		}
	}
}

// deposed checks the futures of a leader epoch that is over.
func (m *suffixModel) deposed() {
	for _, x := range m.futures {
		done, err := x.f.Done()
		if !done || (err == nil) != (x.seq <= m.applied) || err != nil && !errors.Is(err, ErrUncertain) {
			m.fail("after the primary was deposed, the future of %d at commit index %d: %v, %v", x.seq, m.applied, done, err)
		}
	}
	m.futures = nil
}

// cut drops the records of the model behind a seq.
func (m *suffixModel) cut(after uint64) {
	for len(m.log) > 0 && m.log[len(m.log)-1].seq > after {
		m.log = m.log[:len(m.log)-1]
	}
	m.heads = slices.DeleteFunc(m.heads, func(h seenHead) bool { return h.seq > after })
}

// promote makes this copy the primary again, alone or with the other copy.
func (m *suffixModel) promote() {
	before := m.newest()
	alone := m.r.IntN(2) == 0
	if alone {
		m.lead(here)
		m.applied = max(m.applied, m.newest())
		return
	}
	m.lead(here, there)
	m.wrote(m.newest(), m.applied)
	m.applied = m.newest()
	if before == m.applied {
		m.fail("the leader epoch has no no-op")
	}
}

func (m *suffixModel) restart() {
	m.end()
	for i := range m.log { // a batch counts as a whole
		if m.log[i].batch > m.onDisk() && m.log[i].seq <= m.onDisk() {
			m.fail("the commit index on disk is within a batch")
		}
	}
	m.applied = m.onDisk()
	m.start(m.t, m.now+m.r.Int64N(2000)-500)
	m.futures = nil
	if m.mem == nil {
		m.log, m.heads, m.applied, m.acked, m.saved = nil, nil, 0, 0, 0
	}
	m.check()
	m.row.Epoch += 10
	m.promote()
}

// acknowledge lets the other copy acknowledge some record. The part of a batch that it has does not count.
func (m *suffixModel) acknowledge(alone bool) {
	if alone || len(m.log) == 0 {
		return
	}
	rec := m.log[m.r.IntN(len(m.log))]
	seq := rec.seq
	if rec.seq != rec.batch {
		for _, first := range m.log {
			if first.batch == rec.batch {
				seq = first.seq - 1
				break
			}
		}
	}
	m.ack(rec.seq)
	m.acked, m.applied = max(m.acked, rec.seq), max(m.applied, seq)
}

func (m *suffixModel) run(steps int) {
	for m.n = range steps {
		before, alone := m.newest(), m.sh.Alone()
		switch m.r.IntN(30) {
		case 0, 1, 2, 3, 4:
			m.acknowledge(alone)
		case 5:
			if alone {
				m.goOn(here, there)
			} else {
				m.goOn(here)
				m.applied = m.newest()
			}
			m.ackNoOp(before)
		case 6:
			m.goOn(m.row.ISR...)
		case 7:
			m.depose()
			m.deposed()
			m.check()
			if m.r.IntN(2) == 0 {
				after := max(m.applied, m.acked) + uint64(m.r.IntN(8))
				for _, rec := range m.log { // only whole batches follow one another
					if rec.seq <= after && rec.batch > after {
						after = rec.batch
					}
				}
				if after < m.newest() {
					m.truncate(after)
					m.cut(after)
					m.replicator.last = replica.Point{}
					m.check()
				}
			}
			m.promote()
		case 8:
			m.restart()
		case 9:
			m.now += m.r.Int64N(1500)
		case 10:
			RemoveExpired(m.sh, 100)
			m.removed(before, alone, m.expired())
		case 11:
			if f, err := m.sh.Flush(); must(m.t, f, err).seq != 0 || m.newest() != before {
				m.appended(before, alone, []modelled{{flush: true}})
				m.expect(f, m.newest(), 0)
			}
		case 12:
			if m.mem != nil && m.r.IntN(3) == 0 {
				must(m.t, 0, m.sh.snapshots.write(true))
				m.saved = m.applied
			}
		case 13:
			m.evict(before, alone)
		default:
			m.tx()
		}
		m.check()
	}
}

// ackNoOp lets the other copy acknowledge the no-op for which an ISR of two may ask.
func (m *suffixModel) ackNoOp(before uint64) {
	if end := m.newest(); end > before {
		m.wrote(end, m.applied)
		m.ack(end)
		m.applied = end
	}
}

// expired returns the keys of which readers see an expired entry, and that nothing in the suffix changes.
func (m *suffixModel) expired() (gone []string) {
	later := map[string]bool{}
	for _, rec := range m.log {
		if rec.seq > m.applied {
			later[rec.key] = true
			if rec.flush {
				return nil
			}
		}
	}
	for key, f := range m.fold(m.applied) {
		if f.at != 0 && f.at <= m.Now() && !later[key] {
			gone = append(gone, key)
		}
	}
	return gone
}

// removed adds the removals of keys in whatever order they came.
func (m *suffixModel) removed(before uint64, alone bool, keys []string) {
	var added []modelled
	for _, key := range keys {
		added = append(added, modelled{key: key})
	}
	m.appended(before, alone, added)
}

// evict evicts an entry that readers see, if nothing in the suffix changes it.
func (m *suffixModel) evict(before uint64, alone bool) {
	for key := range m.fold(m.applied) {
		e := m.sh.index.get([]byte(key))
		changed := m.sh.suffix.changes([]byte(key))
		n := m.evictor.evict(&candidate{shard: m.sh, entry: e, hash: hashOf([]byte(key))})
		if (n == 0) != changed {
			m.fail("evicting %s freed %d bytes, the suffix changes it: %v", key, n, changed)
		}
		if n > 0 {
			m.removed(before, alone, []string{key})
			if !alone && m.memory.going.Load() <= 0 {
				m.fail("an evicted entry does not count as about to be freed")
			}
		}
		return
	}
}

// Suffix over index does what a plain list of records does, whatever is acknowledged, taken back or restarted: readers see
// what is committed, writers all that is appended, and futures say which is which.
func TestSuffixAgainstModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	for i := range uint64(rounds) {
		m := &suffixModel{seed: seed + i, r: rand.New(rand.NewPCG(seed+i, 0)), pair: newPair(t, i%2 == 0)}
		m.applied = m.newest()
		m.run(400)
		m.goOn(here) // all is committed: nothing is held
		m.applied = m.newest()
		m.check()
		if going := m.memory.going.Load(); going != 0 || !m.sh.suffix.empty() || len(m.sh.waiters.queue) != 0 {
			m.fail("at rest %d bytes are about to be freed", going)
		}
		m.end()
	}
}
