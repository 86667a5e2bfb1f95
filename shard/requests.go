package shard

// A client whose reply was lost does not know whether its conditional write was done: repeated, `NX` would answer null because of
// the client's own first try. So the shard remembers the outcome of each write that has a request id, for a while.
const (
	requestLifetime = 60_000 // ms
	maxRequests     = 4096   // a shard; the oldest go first
)

type requestKey struct{ key, id string }

type request struct {
	requestKey
	at      int64 // Unix time in ms
	outcome Outcome
}

// requestLog is a queue by age with an index. The zero value is empty.
type requestLog struct {
	index map[requestKey]Outcome
	queue []request // oldest first, from head on
	head  int
}

func (l *requestLog) find(key []byte, id string, now int64) (Outcome, bool) {
	l.forget(now)
	outcome, found := l.index[requestKey{string(key), id}]
	return outcome, found
}

func (l *requestLog) remember(key []byte, id string, now int64, outcome Outcome) {
	if l.index == nil {
		l.index = make(map[requestKey]Outcome)
	}
	if len(l.index) >= maxRequests {
		l.drop()
	}
	k := requestKey{string(key), id}
	l.index[k] = outcome
	l.queue = append(l.queue, request{k, now, outcome})
}

// forget drops what is older than requestLifetime.
func (l *requestLog) forget(now int64) {
	for l.head < len(l.queue) && now-l.queue[l.head].at >= requestLifetime {
		l.drop()
	}
}

func (l *requestLog) drop() {
	delete(l.index, l.queue[l.head].requestKey)
	l.queue[l.head] = request{}
	l.head++
	if l.head*2 >= len(l.queue) { // so that each element is moved at most once for each one dropped
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	if len(l.queue) == 0 {
		*l = requestLog{}
	}
}
