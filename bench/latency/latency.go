// Package latency sums up measured times for the reports.
package latency

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Quantile returns the smallest value that at least the given part of all do not exceed.
func Quantile(values []time.Duration, part float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}

// Format returns a time in milliseconds, with two decimals below one and one below ten.
func Format(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
