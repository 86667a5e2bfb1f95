package boottime

import (
	"testing"
	"time"
)

func TestNowGoesOnAtTheRateOfTheClock(t *testing.T) {
	before, began := Now(), time.Now()
	time.Sleep(20 * time.Millisecond)
	passed, least := time.Duration(Now()-before), time.Since(began)
	if passed < 20*time.Millisecond || passed > least+10*time.Second {
		t.Errorf("%v passed, the monotonic clock says %v", passed, least)
	}
}
