package main

import "testing"

func TestLedgerCountsWhatIsLost(t *testing.T) {
	l := &ledger{}
	for _, result := range []outcome{acked, unknown, acked, refused, acked, stored} {
		l.last++
		l.record(result)
	}
	for read, want := range map[int]int{0: 3, 1: 2, 3: 1, 5: 0, 6: 0} {
		if lost, doubtful := l.lost(read); lost != want || doubtful {
			t.Errorf("%d was read: %d lost, doubtful %v; want %d", read, lost, doubtful, want)
		}
	}
	// Attempt 2 had no reply: it may take effect after 3 and 5.
	if lost, doubtful := l.lost(2); lost != 0 || !doubtful {
		t.Errorf("2 was read: %d lost, doubtful %v", lost, doubtful)
	}
}

func TestArraysCarryTheirNumbers(t *testing.T) {
	for _, n := range []int{0, 1, 1 << 40} {
		if got, err := numberIn(string(numbered(n))); err != nil || got != n {
			t.Errorf("%d: %d, %v", n, got, err)
		}
	}
	if n, err := numberIn(""); n != 0 || err != nil {
		t.Errorf("a missing key: %d, %v", n, err)
	}
	if _, err := numberIn("x"); err == nil {
		t.Error("anything is taken for an array")
	}
}
