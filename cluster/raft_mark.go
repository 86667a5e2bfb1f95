package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"time"
)

// mark is how far a raft state has come, kept in another file: an older copy of raft's files is
// whole, but lacks what was written since.
//
// It is written behind raft and at most once a second, which no election waits for. It may lack the
// last second before a crash.
type mark struct {
	Raft string `json:"raft"` // id of the state
	position
}

const (
	markFile     = "raft-mark.json"
	markInterval = time.Second
)

func loadMark(files Files) (m mark, err error) {
	content, err := files.Load(markFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if json.Unmarshal(content, &m) != nil {
		return mark{}, nil // without it an older copy goes unnoticed
	}
	return m, nil
}

// checkMark returns a LostError if a state is older than it is known to have been.
func (f *raftFolder) checkMark(id string, reached position) error {
	m, err := loadMark(f.files)
	if err != nil || m.Raft != id || id == "" {
		return err
	}
	if reached.Term < m.Term || reached.Index < m.Index {
		return f.lost("%s is an older copy: it ends at entry %d of term %d, but had reached entry %d of term %d", f.path(), reached.Index, reached.Term, m.Index, m.Term)
	}
	return nil
}

// keepMark records how far raft has come until ctx is done, and then once more.
func (a *consensus) keepMark(ctx context.Context, files Files, raft string, log *slog.Logger) {
	tick := time.NewTicker(markInterval)
	defer tick.Stop()
	var kept mark
	failing, ended := false, false
	for {
		now := mark{raft, position{Term: a.CurrentTerm(), Index: a.AppliedIndex()}}
		if now != kept {
			switch err := now.save(files); {
			case err == nil:
				kept, failing = now, false
			case !failing:
				failing = true
				log.Warn("cannot record the position of raft's log", "file", markFile, "err", err)
			}
		}
		if ended {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
	}
}

func (m mark) save(files Files) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return files.Save(markFile, content)
}
