package node

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogOfPeersIsLimited(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(limitLines(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for i := range 100 {
		log.With("i", i).Warn("often")
		log.Debug("for debugging")
	}
	log.Info("once")
	if got := out.String(); strings.Count(got, "often") != linesLimit || strings.Count(got, "for debugging") != 100 || strings.Count(got, "once") != 1 {
		t.Errorf("%d, %d and %d lines", strings.Count(got, "often"), strings.Count(got, "for debugging"), strings.Count(got, "once"))
	}
	texts := lineTexts{counts: map[string]*lineCount{}}
	now := time.Unix(1000, 0)
	passed := 0
	for i := range 3 * linesLimit {
		if suppressed, ok := texts.pass("x", now.Add(time.Duration(i))); ok {
			passed++
			if suppressed != 0 {
				t.Errorf("line %d: %d suppressed", i, suppressed)
			}
		}
	}
	suppressed, ok := texts.pass("x", now.Add(linesTime))
	if got := fmt.Sprint(passed, suppressed, ok); got != fmt.Sprint(linesLimit, 2*linesLimit, true) {
		t.Error(got)
	}
}
