package shard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
)

// script performs random operations on a lab and knows the expected state.
type script struct {
	*lab
	r       *rand.Rand
	n       int
	history map[int][]state // by shard: the states after each acknowledged change, preceded by the first state
	synced  map[int]int     // by shard: index in history up to which a sync has succeeded
	errs    []error
	strict  bool          // a failed operation must leave everything as it was
	shadow  map[int]state // by shard with an uncertain operation: the state in memory
	did     map[string]int
}

func newScript(l *lab, seed uint64) *script {
	s := &script{lab: l, r: rand.New(rand.NewPCG(seed, 1)), history: map[int][]state{}, synced: map[int]int{}, did: map[string]int{}, shadow: map[int]state{}}
	for i, st := range l.contents() {
		s.history[i] = []state{st}
	}
	return s
}

func (s *script) last(shard int) state {
	h := s.history[shard]
	return h[len(h)-1]
}

// change records the next state of a shard, made by edit.
func (s *script) change(shard int, edit func(state)) {
	next := maps.Clone(s.last(shard))
	edit(next)
	s.history[shard] = append(s.history[shard], next)
}

// size returns the size of a value: most are small, some have a blob.
func (s *script) size() int {
	kinds := 24
	switch {
	case manyFaults():
		kinds = 12
	case memory.OnGoHeap: // every megabyte costs the race detector much time
		kinds = 40
	}
	switch s.r.IntN(kinds) {
	case 0:
		return persistence.BlobBytes + s.r.IntN(100)
	case 1, 2:
		return 16_000 + s.r.IntN(60_000)
	}
	return s.r.IntN(2000)
}

// step performs one operation.
func (s *script) step() {
	s.n++
	key := fmt.Sprintf("{%d}%d", s.r.IntN(4), s.r.IntN(4)) // in four shards
	sh := s.of(key)
	id := sh.id
	old, there := s.last(id)[key]
	what := s.r.IntN(20)
	kind := "set"
	var err error
	switch {
	case what < 9:
		w := Write{Key: []byte(key)}
		var text string
		w.Value, text = s.value(fmt.Sprintf("%s@%d:", key, s.n), s.size(), s.r.IntN(3) == 0)
		switch s.r.IntN(4) {
		case 0:
			w.Expiry.At = s.now + 1000 + s.r.Int64N(100_000)
		case 1:
			w.Expiry.Keep = true
		case 2:
			w.Condition = IfMissing
		}
		var o Outcome
		o, err = settled(sh.Set(w))
		if err == nil && o.Done {
			at := w.Expiry.At
			if w.Expiry.Keep {
				at = old.at
			}
			s.change(id, func(st state) { st[key] = fact{text, at, o.Version} })
		} else if err == nil && !there && s.shadow[id] == nil {
			s.t.Errorf("op %d: a write was refused for no reason", s.n)
		}
	case what < 12:
		kind = "delete"
		var n int
		n, err = settled(sh.Delete(keys(key, key)))
		if err == nil && n != boolInt(there) && s.shadow[id] == nil {
			s.t.Errorf("op %d: deleted %d", s.n, n)
		}
		if err == nil && n > 0 { // after an uncertain write that removed the key there is nothing to delete
			s.change(id, func(st state) { delete(st, key) })
		}
	case what < 14:
		kind = "expire"
		at := s.now + 5000 + s.r.Int64N(100_000)
		var done bool
		done, err = settled(sh.Expire([]byte(key), at, ExpireCondition{}))
		if err == nil && done {
			s.change(id, func(st state) { f := st[key]; f.at = at; st[key] = f })
		}
	case what < 16:
		kind = "batch"
		err = s.batch(sh)
	case what < 17:
		kind = "flush"
		if s.r.IntN(4) == 0 {
			had := len(s.last(id)) > 0
			if err = settle(sh.Flush()); err == nil && had {
				s.change(id, func(st state) { clear(st) })
			}
		}
	case what < 19:
		kind = "sync"
		for i := range s.shards {
			acked := len(s.history[i]) - 1
			if e := s.shards[i].writer.log.Sync(s.shards[i].writer.log.Position()); e == nil {
				s.synced[i] = acked
			} else {
				err = e
			}
		}
		if e := s.disk.folder.WriteMarks(s.r.IntN(2) == 0); e != nil {
			err = e
		}
	default:
		kind = "snapshot"
		if s.r.IntN(2) == 0 {
			err = sh.snapshots.write(false)
		} else { // all changed shards, published together
			kind, err = "save", (&saveWorker{disk: &s.disk, ctx: context.Background(), most: stopGroup}).run(new(atomic.Int64))
		}
	}
	s.did[kind]++
	if err != nil {
		s.errs = append(s.errs, err)
	} else if s.disk.fsync() == FsyncAlways {
		for i := range s.history {
			s.synced[i] = len(s.history[i]) - 1
		}
	}
	if !s.strict {
		return
	}
	got, want := s.contents()[id], s.last(id)
	if errors.Is(err, ErrUncertain) && s.shadow[id] == nil {
		s.shadow[id] = got // all writes fail from now on
	}
	if s.shadow[id] != nil {
		want = s.shadow[id]
	}
	if !maps.Equal(got, want) {
		s.t.Fatalf("op %d, %s (%v): the shard has %s, want %s", s.n, kind, err, brief(got), brief(want))
	}
}

// batch performs several operations in one transaction.
func (s *script) batch(sh *Shard) error {
	next := maps.Clone(s.last(sh.id))
	err := settle(sh.Update(true, func(tx *Tx) {
		for range 1 + s.r.IntN(12) {
			key := fmt.Sprintf("{%d}%d", s.r.IntN(4), s.r.IntN(4))
			if s.of(key) != sh {
				continue
			}
			switch s.r.IntN(4) {
			case 0:
				if n, _ := tx.Delete(keys(key)); n == 1 {
					delete(next, key)
				}
			case 1:
				if done, _ := tx.Expire([]byte(key), s.now+9999, ExpireCondition{}); done {
					f := next[key]
					f.at = s.now + 9999
					next[key] = f
				}
			default:
				v, text := s.value(fmt.Sprintf("%s@%db:", key, s.n), s.size(), s.r.IntN(2) == 0)
				if o, err := tx.Set(Write{Key: []byte(key), Value: v}); err == nil {
					next[key] = fact{text, 0, o.Version}
				}
			}
		}
	}))
	if err == nil && !maps.Equal(next, s.last(sh.id)) {
		s.history[sh.id] = append(s.history[sh.id], next)
	}
	return err
}

// brief describes a state in one line.
func brief(s state) (text string) {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		f := s[key]
		text += fmt.Sprintf("%s=%.20q+%d until %d, %v; ", key, f.text, len(f.text), f.at, f.version)
	}
	return "{" + text + "}"
}

// prefixOf returns the index of a state in a history, starting at from; -1 if it is missing.
func prefixOf(got state, history []state, from int) int {
	for i := len(history) - 1; i >= from; i-- {
		if maps.Equal(got, history[i]) {
			return i
		}
	}
	return -1
}
