package protocol

import (
	"strings"
	"testing"
	"time"
)

// Each wrong password delays its own connection longer, up to a limit, and no other one. A right password ends that.
func TestWrongPasswords(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret"})
	log := new(lockedBuffer)
	s.logs.to(log)
	c := s.dial(t)
	began := time.Now()
	const n = 9
	for range n {
		c.want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "guessed")
	}
	c.want("+OK", "AUTH", "secret") // after the penalty of the last guess
	least := time.Duration(0)
	for i := range n {
		least += min(firstPenalty<<i, maxPenalty)
	}
	if took := time.Since(began); took < least {
		t.Errorf("%d guesses took only %v, not %v", n, took, least)
	}
	if got := s.Stats().AuthFailures; got != n {
		t.Errorf("%d are counted", got)
	}
	if got := log.String(); strings.Count(got, "wrong user or password") != 1 || !strings.Contains(got, c.LocalAddr().String()) || strings.Contains(got, "guessed") {
		t.Errorf("log:\n%s", got)
	}
}

// A connection that waits after a guess ends with the server, and others go on meanwhile.
func TestGuessingHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret"})
	guessers := make([]*client, 20)
	for i := range guessers {
		guessers[i] = s.dial(t)
		for range 20 {
			guessers[i].send(encode("AUTH", "guessed"))
		}
	}
	c := s.dial(t)
	c.want("+OK", "AUTH", "secret")
	c.want("+PONG", "PING")
}
