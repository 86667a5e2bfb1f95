package shard

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/ndring/ndring/persistence"
)

// suffix is the uncommitted suffix of a shard: the changes that are appended and not committed, the oldest
// first. Readers do not see them. Writers see them over the index, because they will be committed before
// anything that is appended behind them. The zero value is empty.
//
// Invariant: the queue rises by seq; keys has the newest change of each key in it, requests each request, and
// each entry has the one reference that the index will take over.
type suffix struct {
	queue    []pending // from head on
	head     int
	keys     map[string]uint64 // seq of the newest change of each key
	requests map[requestKey]uint64
	flushed  uint64    // seq of the newest Flush; 0 for none
	resting  []resting // by seq, each until that is committed
}

// resting is a transaction that rests on the life of keys which it does not change.
type resting struct {
	seq  uint64   // of its last change, or of the newest change that it has seen if it changes nothing
	time int64    // Unix time in ms at which it found the keys
	keys [][]byte // with a deadline
}

func (r *resting) on(key []byte) bool {
	return slices.ContainsFunc(r.keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// pending is a change in the suffix.
type pending struct {
	change
	epoch  uint64 // in which it was appended
	batch  uint64 // seq of the last change of its batch, which is committed as a whole
	before uint64 // seq of the change of the same key, or of the Flush, that it replaces in keys or flushed; 0 for none
	frees  int64  // bytes that it counts as about to be freed
	bytes  int64  // that it counts in held
	time   int64  // Unix time in ms at which it was appended
}

func (s *suffix) empty() bool { return s.head == len(s.queue) }

// changed returns the number of changes without the no-ops.
func (s *suffix) changed() (n int64) {
	for i := range s.queue[s.head:] {
		if s.queue[s.head+i].kind != persistence.NoOp {
			n++
		}
	}
	return n
}

// push adds the newest change and takes over its entry. It copies a key that the change has borrowed.
func (s *suffix) push(p pending) {
	if p.entry != nil {
		p.key = p.entry.Key()
	} else {
		p.key = bytes.Clone(p.key)
	}
	switch {
	case p.kind == persistence.Flush:
		p.before, s.flushed = s.flushed, p.seq
	case len(p.key) > 0:
		if s.keys == nil {
			s.keys = map[string]uint64{}
		}
		p.before = s.keys[string(p.key)]
		s.keys[string(p.key)] = p.seq
	}
	if p.request != (requestKey{}) {
		if s.requests == nil {
			s.requests = map[requestKey]uint64{}
		}
		s.requests[p.request] = p.seq
	}
	s.queue = append(s.queue, p)
	if len(p.restsOn) > 0 {
		s.rest(resting{p.seq, p.time, p.restsOn})
	}
}

// rest adds a transaction, unless the change for which it waits is committed.
func (s *suffix) rest(r resting) {
	if s.empty() || r.seq < s.first().seq {
		return
	}
	at, _ := slices.BinarySearchFunc(s.resting, r.seq+1, func(r resting, seq uint64) int { return cmp.Compare(r.seq, seq) })
	s.resting = slices.Insert(s.resting, at, r)
}

// keepsAlive returns the seq of the newest change until whose commit readers see an entry that has expired; 0 for none.
func (s *suffix) keepsAlive(e *Entry) (seq uint64) {
	for i := range s.resting {
		if r := &s.resting[i]; !e.expired(r.time) && r.on(e.Key()) {
			seq = r.seq
		}
	}
	return seq
}

// first returns the oldest change; nil if there is none.
func (s *suffix) first() *pending {
	if s.empty() {
		return nil
	}
	return &s.queue[s.head]
}

// pop removes the oldest change, whose entry the caller has taken over.
func (s *suffix) pop() {
	p := &s.queue[s.head]
	if s.keys[string(p.key)] == p.seq {
		delete(s.keys, string(p.key))
	}
	if s.requests[p.request] == p.seq {
		delete(s.requests, p.request)
	}
	if s.flushed == p.seq {
		s.flushed = 0
	}
	for len(s.resting) > 0 && s.resting[0].seq <= p.seq {
		s.resting[0] = resting{}
		s.resting = s.resting[1:]
	}
	*p = pending{}
	s.head++
	switch {
	case s.empty():
		s.renew()
	case s.head*2 >= len(s.queue): // then each pop pays for moving at most one change
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
}

// cut removes the newest change and returns it; its entry becomes the caller's.
func (s *suffix) cut() pending {
	last := len(s.queue) - 1
	p := s.queue[last]
	s.queue[last] = pending{}
	s.queue = s.queue[:last]
	before := p.before
	if s.empty() || before < s.queue[s.head].seq { // that one is committed
		before = 0
	}
	switch {
	case p.kind == persistence.Flush:
		s.flushed = before
	case before != 0:
		s.keys[string(p.key)] = before
	default:
		delete(s.keys, string(p.key))
	}
	if s.requests[p.request] == p.seq {
		delete(s.requests, p.request)
	}
	for n := len(s.resting); n > 0 && s.resting[n-1].seq >= p.seq; n-- {
		s.resting[n-1] = resting{}
		s.resting = s.resting[:n-1]
	}
	if s.empty() {
		s.renew()
	}
	return p
}

// maxSuffixKept is for how many changes an empty suffix keeps memory.
const maxSuffixKept = 32

// renew makes an empty suffix as good as new. It keeps the memory that the next changes need.
func (s *suffix) renew() {
	if cap(s.queue) > maxSuffixKept {
		*s = suffix{}
		return
	}
	*s = suffix{queue: s.queue[:0], keys: s.keys, requests: s.requests}
}

// newest returns the newest change; nil if there is none.
func (s *suffix) newest() *pending {
	if s.empty() {
		return nil
	}
	return &s.queue[len(s.queue)-1]
}

// find returns the entry that a key will have once the suffix is committed, nil for none, and the seq of the
// change that decides so. It returns false if the suffix does not change the key.
func (s *suffix) find(key []byte) (e *Entry, seq uint64, found bool) {
	if s.empty() {
		return nil, 0, false
	}
	if seq = s.keys[string(key)]; seq > s.flushed {
		return s.at(seq).entry, seq, true
	}
	return nil, s.flushed, s.flushed != 0
}

// changes reports whether the suffix changes a key.
func (s *suffix) changes(key []byte) bool {
	_, _, found := s.find(key)
	return found
}

// firstTime returns the Unix time in ms at which the oldest change of a key in the suffix was appended, or at which a transaction found
// the key that rests on it; otherwise, if there is none.
func (s *suffix) firstTime(key []byte, otherwise int64) int64 {
	for seq := s.keys[string(key)]; seq != 0 && !s.empty() && seq >= s.queue[s.head].seq; {
		p := s.at(seq)
		otherwise, seq = p.time, p.before
	}
	for i := range s.resting {
		if r := &s.resting[i]; r.time < otherwise && r.on(key) {
			otherwise = r.time
		}
	}
	return otherwise
}

// answered returns the outcome that a request will have once the suffix is committed.
func (s *suffix) answered(request requestKey) (o Outcome, seq uint64, found bool) {
	if seq, found = s.requests[request]; found {
		p := s.at(seq)
		o = p.outcome(p.epoch)
	}
	return o, seq, found
}

// at returns the change with a seq, which must be there.
func (s *suffix) at(seq uint64) *pending {
	i, _ := slices.BinarySearchFunc(s.queue[s.head:], seq, func(p pending, seq uint64) int { return cmp.Compare(p.seq, seq) })
	return &s.queue[s.head+i]
}
