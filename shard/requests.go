package shard

import (
	"crypto/sha256"
	"encoding/binary"
)

// A client whose reply was lost does not know whether its conditional write happened: a repeated NX
// would answer null because of the client's own first attempt. So the shard remembers the outcome
// of every write with a request id for a while.
//
// The log and the snapshots have the outcomes too, so a repeat is recognized after a restart. They
// have no times: a copy ages an outcome by the monotonic time since it applied the record, so a clock that is set
// or differs between nodes never makes it forget too early.
const (
	requestLifetime = 60_000 // ms
	// requestMinimum is the age below which no outcome is forgotten, however many there are: a client may still be
	// repeating its request at the next primary.
	requestMinimum = 15_000 // ms
	maxRequests    = 65_536 // per shard
)

// requestKey names a request: the beginning of the SHA-256 of its key and id, which takes the same
// memory however long the key is. Zero means none.
type requestKey [16]byte

func requestOf(key []byte, id string) (k requestKey) {
	var space [256]byte
	b := binary.LittleEndian.AppendUint16(space[:0], uint16(len(key)))
	b = append(append(b, key...), id...)
	sum := sha256.Sum256(b)
	copy(k[:], sum[:])
	return k
}

// answer is the outcome of a request.
type answer struct {
	request requestKey
	outcome Outcome
}

// requestLog is a queue by age with an index. The zero value is empty.
type requestLog struct {
	index map[requestKey]known
	queue []requestKey // oldest first, from head on; the index has every one of them
	head  int
}

// known is the outcome of a request, and when it was applied here, in ms of the monotonic clock.
type known struct {
	Outcome
	at int64
}

func (l *requestLog) find(k requestKey, now int64) (Outcome, bool) {
	r, found := l.index[k]
	return r.Outcome, found && now-r.at < requestLifetime
}

// hasRoom reports whether so many more requests can be remembered.
func (l *requestLog) hasRoom(more int, now int64) bool {
	excess := len(l.index) + more - maxRequests
	if excess <= 0 {
		return true
	}
	last := l.head + excess - 1 // of those that must go
	return last < len(l.queue) && now-l.index[l.queue[last]].at >= requestMinimum
}

// remember records the outcome of a request. The first outcome of a request stays. A copy never refuses what is
// appended: it remembers more than maxRequests rather than forget a request that is too young.
func (l *requestLog) remember(a answer, now int64) {
	l.expire(now)
	if _, found := l.index[a.request]; found {
		return
	}
	if l.index == nil {
		l.index = make(map[requestKey]known)
	}
	for len(l.index) >= maxRequests && now-l.index[l.queue[l.head]].at >= requestMinimum {
		l.drop()
	}
	l.index[a.request] = known{a.outcome, now}
	l.queue = append(l.queue, a.request)
}

// trim drops the oldest requests beyond maxRequests, whatever their age. A recovery does: it knows no ages, and a log
// may have any number of requests.
func (l *requestLog) trim() {
	for len(l.index) > maxRequests {
		l.drop()
	}
}

// expire drops requests that are older than requestLifetime.
func (l *requestLog) expire(now int64) {
	for l.head < len(l.queue) && now-l.index[l.queue[l.head]].at >= requestLifetime {
		l.drop()
	}
}

func (l *requestLog) drop() {
	delete(l.index, l.queue[l.head])
	l.head++
	if l.head == len(l.queue) {
		*l = requestLog{}
	} else if l.head*2 >= len(l.queue) { // then each drop pays for moving at most one request
		n := copy(l.queue, l.queue[l.head:])
		l.queue, l.head = l.queue[:n], 0
	}
}

// answers returns all outcomes that are young enough, the oldest first.
func (l *requestLog) answers(now int64) []answer {
	list := make([]answer, 0, len(l.queue)-l.head)
	for _, k := range l.queue[l.head:] {
		if outcome, found := l.find(k, now); found {
			list = append(list, answer{k, outcome})
		}
	}
	return list
}
