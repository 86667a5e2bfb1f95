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
// have no times: after a restart every outcome counts from the start, because a clock that was set
// forward in between would make the shard forget too early.
const (
	requestLifetime = 60_000 // ms
	maxRequests     = 4096   // per shard; the oldest is dropped first
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
	queue []request // oldest first, from head on; the index has every one of them
	head  int
}

func (l *requestLog) find(k requestKey, now int64) (Outcome, bool) {
	l.expire(now)
	outcome, found := l.index[k]
	return outcome, found
}

// remember records the outcome of a request. The first outcome of a request stays.
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

// expire drops requests that are older than requestLifetime.
func (l *requestLog) expire(now int64) {
	for l.head < len(l.queue) && now-l.queue[l.head].at >= requestLifetime {
		l.drop()
	}
}

func (l *requestLog) drop() {
	delete(l.index, l.queue[l.head].requestKey)
	l.head++
	if l.head == len(l.queue) {
		*l = requestLog{}
	} else if l.head*2 >= len(l.queue) { // then each drop pays for moving at most one request
		n := copy(l.queue, l.queue[l.head:])
		l.queue, l.head = l.queue[:n], 0
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
