package shard

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// A client whose reply was lost does not know whether its conditional write was done: repeated, `NX` would answer null because of
// the client's own first try. So the shard remembers the outcome of each write that has a request id, for a while.
//
// The log and the snapshots have each outcome, too, so that a repeat is known after a restart. They do not say when it was: the time after a restart counts
// from the start, so that no clock that was set forward in between makes the shard forget too early.
const (
	requestLifetime = 60_000 // ms
	maxRequests     = 4096   // a shard; the oldest go first
)

// requestKey names a request: the beginning of the SHA-256 of its key and id, so that a request takes the same memory however long its key is. Zero stands for none.
type requestKey [16]byte

func requestOf(key []byte, id string) (k requestKey) {
	var space [256]byte
	b := binary.LittleEndian.AppendUint16(space[:0], uint16(len(key)))
	b = append(append(b, key...), id...)
	sum := sha256.Sum256(b)
	copy(k[:], sum[:])
	return k
}

type request struct {
	requestKey
	at int64 // Unix time in ms
}

// answer is the outcome of a request.
type answer struct {
	request requestKey
	outcome Outcome
}

// requestLog is a queue by age with an index. The zero value is empty.
type requestLog struct {
	index map[requestKey]Outcome
	queue []request // oldest first, from head on; each is in the index
	head  int
}

func (l *requestLog) find(k requestKey, now int64) (Outcome, bool) {
	l.forget(now)
	outcome, found := l.index[k]
	return outcome, found
}

// remember notes the outcome of a request, unless there is an earlier one, which stands.
func (l *requestLog) remember(a answer, now int64) {
	if _, known := l.index[a.request]; known {
		return
	}
	if l.index == nil {
		l.index = make(map[requestKey]Outcome)
	}
	if len(l.index) >= maxRequests {
		l.drop()
	}
	l.index[a.request] = a.outcome
	l.queue = append(l.queue, request{a.request, now})
}

// forget drops what is older than requestLifetime.
func (l *requestLog) forget(now int64) {
	for l.head < len(l.queue) && now-l.queue[l.head].at >= requestLifetime {
		l.drop()
	}
}

func (l *requestLog) drop() {
	delete(l.index, l.queue[l.head].requestKey)
	l.head++
	if l.head == len(l.queue) {
		*l = requestLog{}
	} else if l.head*2 >= len(l.queue) { // so that each element is moved at most once for each one dropped
		n := copy(l.queue, l.queue[l.head:])
		l.queue, l.head = l.queue[:n], 0
	}
}

// forgetRequests gives the memory back of requests that are not known any more. A shard that is busy has its turn the next time.
func (s *Store) forgetRequests() {
	for _, sh := range s.shards {
		if sh.role.ready.Load() && sh.writing.TryLock() {
			sh.requests.forget(s.clock())
			sh.writing.Unlock()
		}
	}
}

// answers returns all outcomes, the oldest first.
func (l *requestLog) answers() []answer {
	list := make([]answer, 0, len(l.queue)-l.head)
	for _, r := range l.queue[l.head:] {
		list = append(list, answer{r.requestKey, l.index[r.requestKey]})
	}
	return list
}

// An answer on disk: the request, then epoch and seq of the write, both 0 for one whose condition did not hold.
const (
	answerBytes   = len(requestKey{}) + 16
	answersRecord = 4096 / answerBytes // that fit into the meta of a record
)

func appendAnswers(b []byte, answers []answer) []byte {
	b = slices.Grow(b, len(answers)*answerBytes)
	for _, a := range answers {
		b = append(b, a.request[:]...)
		b = binary.LittleEndian.AppendUint64(b, a.outcome.Version.Epoch)
		b = binary.LittleEndian.AppendUint64(b, a.outcome.Version.Seq)
	}
	return b
}

// parseAnswers reads what appendAnswers wrote. Bytes that are left over are none.
func parseAnswers(b []byte, each func(answer)) {
	for ; len(b) >= answerBytes; b = b[answerBytes:] {
		a := answer{request: requestKey(b)}
		rest := b[len(a.request):]
		a.outcome.Version = Version{binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])}
		a.outcome.Done = a.outcome.Version != Version{}
		each(a)
	}
}
