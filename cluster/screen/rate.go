package screen

import (
	"errors"
	"sync"
	"time"
)

var (
	errTooMany        = errors.New("exceeds a limit of its sender")
	errTooManyMembers = errors.New("names more members than a cluster can have")
)

const (
	maxStreams     = 64 // open, of all hosts
	maxHostStreams = 16 // of one
	perSecond      = 10_000
	maxHosts       = 1024 // whose rate is tracked
)

// openStreams counts open streams by host.
type openStreams struct {
	mu    sync.Mutex // guards all below
	total int
	hosts map[string]int
}

// take counts one more stream of a host, and reports false if that exceeds a limit.
func (p *openStreams) take(host string) bool {
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

func (p *openStreams) free(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.hosts[host]--; p.hosts[host] == 0 {
		delete(p.hosts, host)
	}
}

// rate limits the messages in datagrams by host, with a token bucket that holds the tokens of one
// second. Only one goroutine uses it.
type rate struct{ hosts map[string]*bucket }

type bucket struct {
	left float64
	last time.Time
}

// take reports whether a host may send something of the given cost.
func (r *rate) take(host string, cost int, now time.Time) bool {
	b := r.hosts[host]
	if b == nil {
		if r.hosts == nil || len(r.hosts) >= maxHosts { // forgetting all is cheap, and grants each host at most the tokens of one second
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
