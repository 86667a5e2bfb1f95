package node

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// What other nodes can make this node log: lines with one text in a time. The next such line says how many were left out.
const (
	linesLimit = 20
	linesTime  = 10 * time.Second
)

// limitLines returns a handler that passes a limited number of lines with each text, so that a broken or hostile peer cannot fill
// the log. Lines for debugging are not limited.
func limitLines(to slog.Handler) slog.Handler {
	return &limitedLines{Handler: to, texts: &lineTexts{counts: map[string]*lineCount{}}}
}

type limitedLines struct {
	slog.Handler
	texts *lineTexts // shared by all handlers that are made from one
}

// lineTexts counts lines by their text. The texts are those in the code.
type lineTexts struct {
	mu     sync.Mutex // guards counts
	counts map[string]*lineCount
}

type lineCount struct {
	began         time.Time
	passed, later int // lines since then, and those that were left out since one has passed
}

// Handle implements slog.Handler.
func (l *limitedLines) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		suppressed, pass := l.texts.pass(r.Message, r.Time)
		if !pass {
			return nil
		}
		if suppressed > 0 {
			r.AddAttrs(slog.Int("suppressed", suppressed))
		}
	}
	return l.Handler.Handle(ctx, r)
}

func (t *lineTexts) pass(text string, now time.Time) (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[text]
	if c == nil {
		c = &lineCount{began: now}
		t.counts[text] = c
	}
	if now.Sub(c.began) >= linesTime {
		c.began, c.passed = now, 0
	}
	if c.passed >= linesLimit {
		c.later++
		return 0, false
	}
	c.passed++
	suppressed, c.later = c.later, 0
	return suppressed, true
}

// WithAttrs implements slog.Handler.
func (l *limitedLines) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limitedLines{l.Handler.WithAttrs(attrs), l.texts}
}

// WithGroup implements slog.Handler.
func (l *limitedLines) WithGroup(name string) slog.Handler {
	return &limitedLines{l.Handler.WithGroup(name), l.texts}
}
