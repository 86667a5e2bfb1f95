// Package follow notices that files have changed, by looking at them again and again: certificates, passwords, keys. It imports
// nothing of ndring.
package follow

import (
	"context"
	"os"
	"time"
)

// Interval is the time between two looks at the files of a node.
const Interval = time.Second

// State is what files were like at one moment. A missing file is nil.
type State []os.FileInfo

// Look returns the state of files. A file without a name is missing.
func Look(names ...string) State {
	s := make(State, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			s[i] = info
		}
	}
	return s
}

// Same reports whether the files are those of another state, with the content that they had then as far as size and time tell.
func (s State) Same(other State) bool {
	if len(s) != len(other) {
		return false
	}
	for i, a := range s {
		b := other[i]
		if a == nil || b == nil {
			if a != nil || b != nil {
				return false
			}
			continue
		}
		if !os.SameFile(a, b) || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) {
			return false
		}
	}
	return true
}

// Until calls reread at an interval until ctx is done. Of errors that follow one another it passes the first to failed.
func Until(ctx context.Context, every time.Duration, reread func() error, failed func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for said := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := reread()
		if err != nil && !said {
			failed(err)
		}
		said = err != nil
	}
}
