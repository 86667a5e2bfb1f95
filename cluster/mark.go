package cluster

import (
	"encoding/json"
	"errors"
	"io/fs"
	"time"
)

// mark is how far a raft state has come, kept beside it: a copy of raft's files that was made earlier is whole, and has forgotten what came since.
//
// It is written behind raft and at most once a second, so that no election waits for it. What came in the last second before the process ended it may lack.
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
		return mark{}, nil // what it would have shown is not shown
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
		return f.lost("%s is older than it was: it ends with entry %d in term %d, and had come to entry %d in term %d", f.path(), reached.Index, reached.Term, m.Index, m.Term)
	}
	return nil
}

// keepMark writes down how far raft has come, until the node's part in the cluster ends, and then once more.
func (c *Cluster) keepMark(a *agreement, raft string) {
	tick := time.NewTicker(markInterval)
	defer tick.Stop()
	var kept mark
	failing, ended := false, false
	for {
		now := mark{raft, position{Term: a.CurrentTerm(), Index: a.AppliedIndex()}}
		if now != kept {
			switch err := now.save(c.files); {
			case err == nil:
				kept, failing = now, false
			case !failing:
				failing = true
				c.log.Warn("cannot write down how far the log of the topology has come", "file", markFile, "err", err)
			}
		}
		if ended {
			return
		}
		select {
		case <-tick.C:
		case <-c.context.Done():
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
