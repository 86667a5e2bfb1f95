package latency

import (
	"testing"
	"time"
)

func TestQuantilesAreMeasuredValues(t *testing.T) {
	var values []time.Duration
	for i := range 100 {
		values = append(values, time.Duration(100-i))
	}
	for part, want := range map[float64]time.Duration{0.5: 50, 0.99: 99, 1: 100} {
		if got := Quantile(values, part); got != want {
			t.Errorf("%v: %d, want %d", part, got, want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		87 * time.Microsecond: "0.09 ms", 1234 * time.Microsecond: "1.2 ms", 12345 * time.Microsecond: "12 ms",
	} {
		if got := Format(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
