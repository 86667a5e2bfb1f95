package screen

import (
	"errors"
	"sync"
	"time"
)

var (
	errTooMany        = errors.New("is one too many")
	errTooManyMembers = errors.New("tells of more members than a cluster has")
)

const (
	maxStreams     = 64 // open at once, of all hosts
	maxHostStreams = 16 // of one
	perSecond      = 10_000
	maxHosts       = 1024 // whose rate is known
)

// places are the streams that are open.
type places struct {
	mu    sync.Mutex // guards all below
	total int
	hosts map[string]int
}

// take reports whether a host may have one more stream.
func (p *places) take(host string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total >= maxStreams || p.hosts[host] >= maxHostStreams {
		return false
	}
	if p.hosts == nil {
		p.hosts = map[string]int{}
	}
	p.total++
	p.hosts[host]++
	return true
}

func (p *places) free(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.hosts[host]--; p.hosts[host] == 0 {
		delete(p.hosts, host)
	}
}

// rate counts the messages in datagrams of each host: a token bucket of a second's worth. Only one
// goroutine uses it.
type rate struct{ hosts map[string]*bucket }

type bucket struct {
	left float64
	last time.Time
}

// take reports whether a host may send something that costs so much.
func (r *rate) take(host string, cost int, now time.Time) bool {
	b := r.hosts[host]
	if b == nil {
		if r.hosts == nil || len(r.hosts) >= maxHosts { // forgetting all is cheap, and gives each a second's worth at most
			r.hosts = map[string]*bucket{}
		}
		b = &bucket{left: perSecond, last: now}
		r.hosts[host] = b
	}
	b.left = min(perSecond, b.left+now.Sub(b.last).Seconds()*perSecond)
	b.last = now
	if b.left < float64(cost) {
		return false
	}
	b.left -= float64(cost)
	return true
}
