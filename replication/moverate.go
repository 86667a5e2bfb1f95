package replication

import (
	"context"
	"sync"
	"time"
)

// moveRate bounds how many bytes a second the catch-ups of learners send, all of a node together. It is a bucket of tokens, one for
// each byte, that may be overdrawn: who has sent waits until it is not any longer. So nothing waits for its turn, and a new rate takes
// effect within rateStep. At most a second's tokens are saved.
type moveRate struct {
	rate  func() int64 // bytes a second; 0 for no limit
	now   func() time.Time
	sleep func(context.Context, time.Duration)

	mu     sync.Mutex // guards all below
	at     time.Time  // when tokens was right
	tokens float64
	spent  int64 // so far, while there was a limit
}

// rateStep is how long one waits at most before it looks again, and rateDebt how many seconds' tokens may be overdrawn: what is sent
// while writers wait is not held up, and must not hold up the others for longer than their connections last.
const (
	rateStep = 250 * time.Millisecond
	rateDebt = 10
)

func newMoveRate(rate func() int64) *moveRate {
	return &moveRate{rate: rate, now: time.Now, sleep: pause}
}

// limited reports whether there is a limit.
func (m *moveRate) limited() bool { return m.rate() > 0 }

// charge takes tokens for n bytes that were sent, and returns how long to wait until none are overdrawn; 0 for not at all.
func (m *moveRate) charge(n int) time.Duration {
	rate := float64(m.rate())
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if rate <= 0 {
		m.at, m.tokens = now, 0
		return 0
	}
	if m.at.IsZero() {
		m.at = now
	}
	m.tokens = min(m.tokens+rate*now.Sub(m.at).Seconds(), rate)
	m.tokens = max(m.tokens-float64(n), -rateDebt*rate)
	m.at = now
	m.spent += int64(n)
	return time.Duration(max(0, -m.tokens/rate) * float64(time.Second))
}

// spend takes tokens for n bytes that were sent, and returns when none are overdrawn, or ctx is done. It reports whether it has waited.
func (m *moveRate) spend(ctx context.Context, n int) (waited bool) {
	for wait := m.charge(n); wait > 0 && ctx.Err() == nil; wait = m.charge(0) {
		m.sleep(ctx, min(wait, rateStep))
		waited = true
	}
	return waited
}
